"""A group that has to be chosen, defaults inside groups, a resolver of the script's own."""

import hydra
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("join", lambda *texts: "-".join(map(str, texts)), replace=True)


@hydra.main(version_base=None, config_path="conf", config_name="main")
def main(cfg):
    print(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))


if __name__ == "__main__":
    main()
