"""A small synthetic scene for measurements of the trainer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAME = "synthetic_pair01_wave"
ALL_CAMERAS = (4, 16, 28, 40, 52, 64, 76, 88)


def build_scene(
    folder: Path,
    image_size: int | Sequence[int],
    frames: int,
    cameras: Sequence[int] = ALL_CAMERAS,
) -> list[str]:
    """Build a scene of two people below a folder; return the trainer's arguments that name it.

    `image_size` is the side of a square, or width and height, in pixels.
    """
    from preprocess.registry import load_scenes
    from preprocess.synthetic.build import ensure_scene_data

    registry = folder / "registry"
    registry.mkdir(parents=True)
    recipe: dict[str, Any] = {"action": "wave", "people": ["ada", "ben"], "seed": 5}
    size = image_size if isinstance(image_size, int) else list(image_size)
    recipe |= {"frames": frames, "image_size": size, "cameras": list(cameras)}
    scene = {"seq_name": NAME, "cam_id": 28, "raw_gt_dir_path": f"truth/{NAME}"}
    file = registry / f"{NAME}.json"
    file.write_text(json.dumps({**scene, "synthetic": recipe}), encoding="utf-8")
    ensure_scene_data(load_scenes(registry), folder / "scenes")
    return [
        f"shared.scene_name={NAME}",
        f"shared.scene_file={file}",
        f"shared.scene_data_root={folder / 'scenes'}",
        f"shared.results_root={folder / 'results'}",
    ]
