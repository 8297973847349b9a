"""Scene files without data: enough to plan, and for a trainer that reads none."""

from __future__ import annotations

import json
from pathlib import Path


def write_scenes(folder: Path, count: int) -> Path:
    """Write `count` scene files into a new folder, scene_00000 and so on; return it."""
    folder.mkdir(parents=True)
    for number in range(count):
        name = f"scene_{number:05d}"
        scene = {"seq_name": name, "cam_id": 28}
        (folder / f"{name}.json").write_text(json.dumps(scene), encoding="utf-8")
    return folder
