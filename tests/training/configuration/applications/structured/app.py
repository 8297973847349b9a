"""Structured configurations, registered by the script and by a module beside it."""

import hydra
from omegaconf import OmegaConf
from schema import Config, register

register()
print("registered", flush=True)


@hydra.main(version_base="1.2", config_path="conf", config_name="config")
def main(cfg: Config) -> None:
    OmegaConf.to_object(cfg)
    print(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))


if __name__ == "__main__":
    main()
