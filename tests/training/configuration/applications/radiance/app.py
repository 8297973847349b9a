"""A radiance field's script: one file, Hydra's own outputs silenced; no version_base is given."""

import hydra


@hydra.main(config_path="conf", config_name="nerf")
def main(cfg):
    assert cfg.dataset.path
    assert all(layer > 0 for layer in cfg.model.layers)
    print(cfg.shared.scene_name, cfg.train.lr * 2, cfg.dataset.image_size)


if __name__ == "__main__":
    main()
