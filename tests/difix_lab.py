"""Four small scenes of two groups, for launches that make the refiner's training set of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SCENES = ("synthetic_pair01_a", "synthetic_pair01_b", "synthetic_pair02_a", "synthetic_pair02_b")
GENERATE = "run_mode=difix_data_generation_generate"
UNTRAINED = "difix_data_generation.require_checkpoint=false"
FLAGS = ("--run-all", "--overrides", GENERATE, UNTRAINED, "model.gaussians_per_person=200")


def add_scenes(lab: Any, names: Sequence[str] = SCENES) -> None:
    """Scenes with recipes: 48 px, 3 frames, three cameras."""
    for number, name in enumerate(names):
        recipe = {"action": "wave", "people": ["ada", "ben"], "seed": number, "frames": 3}
        recipe |= {"image_size": 48, "cameras": [4, 28, 52]}
        lab.add_scene(name, synthetic=recipe, raw_gt_dir_path=f"truth/{name}")


def dataset(lab: Any) -> Path:
    return lab.root / "results" / "_experiments" / "exp" / "difix_data"


def manifests(lab: Any) -> dict[str, str]:
    """What decides, with the lab's own folder taken out of the paths."""
    files = ("difix/data.json", "manifests/all_samples.jsonl", "manifests/split_summary.json")
    root = str(lab.root)
    return {name: (dataset(lab) / name).read_text().replace(root, "ROOT") for name in files}


def check_whole(lab: Any) -> None:
    """Every path opens, a sample's images have one size, and no group is on both sides."""
    splits = json.loads((dataset(lab) / "difix" / "data.json").read_text())
    groups = {}
    for split, samples in splits.items():
        assert samples
        groups[split] = {name.split("_")[1] for name in samples}
        for sample in samples.values():
            images = [Image.open(sample[k]) for k in ("image", "target_image", "ref_image")]
            assert len({image.size for image in images}) == 1
    assert groups == {"train": {"pair01"}, "test": {"pair02"}}


def record(lab: Any, scene: str) -> dict[str, Any]:
    return json.loads((lab.output(scene) / "difix_data" / "run.json").read_text())
