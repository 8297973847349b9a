"""A synthetic scene that is built in a second."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from preprocess.scene import Scene

SIZE, FRAMES = 48, 4


def small(**changes: Any) -> Scene:
    recipe = {
        "action": "dance",
        "people": ["ada", "dan"],
        "frames": FRAMES,
        "image_size": SIZE,
        "cameras": [4, 28, 52],
    } | changes
    return Scene(seq_name="small", cam_id=28, raw_gt_dir_path="truth/small", synthetic=recipe)


SMALL = small(skip_frames=[3])


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
