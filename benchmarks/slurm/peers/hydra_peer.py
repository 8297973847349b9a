"""A Hydra application whose run is one scene: `number=7`."""

from __future__ import annotations

from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from scene import run_scene  # type: ignore[import-not-found,unused-ignore]

ConfigStore.instance().store(name="config", node={"number": 0})


@hydra.main(version_base=None, config_name="config")
def main(config: Any) -> None:
    """Run the scene that the configuration names."""
    run_scene(config.number)


if __name__ == "__main__":
    main()
