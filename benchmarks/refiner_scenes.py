"""Write scene files with many different people, to train and judge an image refiner on.

    python benchmarks/refiner_scenes.py FOLDER [--pairs 12] [--image-size 96] [--frames 8]

Pairs of random people wave or hug, each pair a group of its own (pair10, pair11, …): what
`run_mode=refiner_train` is trained on. The two bundled scenes of pair02, in the same image size,
are those that it is judged on: other people, in other actions. docs/trainer.md has the commands.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUNDLED = Path(__file__).resolve().parent.parent / "preprocess" / "scenes"
TRAIN_ACTIONS = ("wave", "hug")
FIRST_PAIR = 10


def scenes(pairs: int, image_size: int, frames: int) -> Iterator[dict[str, Any]]:
    """Yield the content of each scene file."""
    for number in range(pairs):
        action = TRAIN_ACTIONS[number % len(TRAIN_ACTIONS)]
        name = f"synthetic_pair{FIRST_PAIR + number}_{action}"
        recipe = {"action": action, "people": {"random": number}, "seed": number}
        recipe |= {"frames": frames, "image_size": image_size}
        truth = {"raw_gt_dir_path": f"truth/{name}"}
        yield {"seq_name": name, "cam_id": 28, **truth, "synthetic": recipe}
    for path in sorted(BUNDLED.glob("synthetic_pair02_*.json")):
        scene = json.loads(path.read_text(encoding="utf-8"))
        yield {**scene, "synthetic": {**scene["synthetic"], "image_size": image_size}}


def main() -> None:
    """Write the files and print how many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=96, help="pixels a side")
    parser.add_argument("--frames", type=int, default=8, help="of each scene to train on")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    written = list(scenes(given.pairs, given.image_size, given.frames))
    for scene in written:
        path = given.folder / f"{scene['seq_name']}.json"
        path.write_text(json.dumps(scene, indent=1) + "\n", encoding="utf-8")
    print(f"{len(written)} scenes: {given.folder}")


if __name__ == "__main__":
    main()
