"""Two networks of one group, each with an optimizer of one group, in packages of their own."""

import hydra
from omegaconf import OmegaConf


@hydra.main(version_base=None, config_path="conf", config_name="gan")
def main(cfg):
    print(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))


if __name__ == "__main__":
    main()
