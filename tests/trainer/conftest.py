"""A tiny synthetic scene, built once a session, and the trainer to call on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from preprocess.registry import load_scenes
from preprocess.synthetic import ensure_scene_data
from training.simple_multi_human_trainer import main

CHECKOUT = Path(__file__).resolve().parents[2]
TRAINER = CHECKOUT / "training" / "simple_multi_human_trainer.py"
NAME = "tiny_scene"
SKIPPED = 4
SMALL = (
    "train.optimization.epochs=3",
    "train.optimization.checkpoint_every_epoch=1",
    "model.gaussians_per_person=250",
)
RENDERED = (
    "train.nv_generation.trn_nv_gen.num_cameras=2",
    "train.nv_generation.nv_gen_epoch=1",
)
CAPTURED = (
    "train.nv_generation.trn_nv_gen.num_cameras=4",
    "train.nv_generation.trn_nv_gen.source=captured",
)


@dataclass(frozen=True)
class Studio:
    """A scene with its data, and a results folder of the test's own."""

    registry: Path
    data: Path
    results: Path
    name: ClassVar[str] = NAME
    skipped: ClassVar[int] = SKIPPED
    rendered: ClassVar[tuple[str, ...]] = RENDERED
    captured: ClassVar[tuple[str, ...]] = CAPTURED

    def scene_file(self, name: str = NAME) -> Path:
        return self.registry / f"{name}.json"

    def arguments(self, *overrides: str, name: str = NAME, exp_name: str = "exp") -> list[str]:
        return [
            f"shared.scene_name={name}",
            f"shared.exp_name={exp_name}",
            f"shared.scene_file={self.scene_file(name)}",
            f"shared.scene_data_root={self.data}",
            f"shared.results_root={self.results}",
            *SMALL,
            *overrides,
        ]

    def train(self, *overrides: str, **named: str) -> int:
        return main(self.arguments(*overrides, **named))

    def start(self, *overrides: str, cwd: Path = CHECKOUT, **named: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(TRAINER), *self.arguments(*overrides, **named)],
            cwd=cwd,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def output(self, exp_name: str = "exp", name: str = NAME) -> Path:
        return self.results / name / exp_name

    def metrics(self, exp_name: str = "exp", name: str = NAME) -> dict[str, Any]:
        return json.loads((self.output(exp_name, name) / "metrics.json").read_text("utf-8"))

    def checkpoint(self, exp_name: str = "exp") -> dict[str, Any]:
        path = self.output(exp_name) / "checkpoints" / "last.pt"
        return torch.load(path, weights_only=True)["state"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Registry and data of the tiny scene: two people, 64 px, 6 frames of which one is skipped."""
    root = tmp_path_factory.mktemp("studio")
    registry = root / "registry"
    registry.mkdir()
    recipe = {"action": "wave", "people": ["ada", "ben"], "seed": 5, "frames": 6, "image_size": 64}
    scene = {
        "seq_name": NAME,
        "cam_id": 28,
        "raw_gt_dir_path": f"truth/{NAME}",
        "synthetic": recipe | {"skip_frames": [SKIPPED]},
    }
    (registry / f"{NAME}.json").write_text(json.dumps(scene), encoding="utf-8")
    ensure_scene_data(load_scenes(registry), root / "scenes")
    return registry, root / "scenes"


@pytest.fixture
def studio(built: tuple[Path, Path], tmp_path: Path) -> Iterator[Studio]:
    """The tiny scene with results of one's own; signal handlers are put back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield Studio(*built, tmp_path / "results")
    for number, handler in before.items():
        signal.signal(number, handler)
