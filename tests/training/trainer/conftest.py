"""A tiny synthetic scene, built once a session, and the trainer to run on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
import torch

from preprocess.registry import load_scenes
from preprocess.synthetic.build import ensure_scene_data
from training.simple_multi_human_trainer import main

CHECKOUT = Path(__file__).resolve().parents[3]
TRAINER = CHECKOUT / "training" / "simple_multi_human_trainer.py"
NAME = "tiny_scene"
SKIPPED = 4
DIFIX_SCENES = (
    "synthetic_pair01_hug",
    "synthetic_pair01_wave",
    "synthetic_pair02_dance",
    "synthetic_pair02_talk",
)
Place = TypeVar("Place")
SMALL = (
    "train.optimization.epochs=3",
    "train.optimization.checkpoint_every_epoch=1",
    "model.gaussians_per_person=250",
    "train.evaluation.eval_animation_frames=0",
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
class TinyScene:
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


@dataclass(frozen=True)
class DifixScenes(TinyScene):
    """Four scenes of two pairs with two target cameras each, to make DiFix data of."""

    scenes: ClassVar[tuple[str, ...]] = DIFIX_SCENES
    name: ClassVar[str] = DIFIX_SCENES[0]

    def generate(self, *overrides: str, name: str = DIFIX_SCENES[0], exp_name: str = "exp") -> int:
        mode = "run_mode=difix_data_generation_generate"
        untrained = "difix_data_generation.require_checkpoint=false"
        return self.train(mode, untrained, *overrides, name=name, exp_name=exp_name)

    def aggregate(self, *overrides: str) -> int:
        names = ("shared.exp_name=exp", f"shared.results_root={self.results}")
        mode = "run_mode=difix_data_generation_aggregate"
        return main([mode, *names, *SMALL, *overrides])

    def shard_folder(self, name: str = DIFIX_SCENES[0], exp_name: str = "exp") -> Path:
        return self.output(exp_name, name) / "difix_data"

    def shard(self, name: str = DIFIX_SCENES[0], exp_name: str = "exp") -> dict[str, Any]:
        return json.loads((self.shard_folder(name, exp_name) / "shard.json").read_text("utf-8"))

    @property
    def dataset(self) -> Path:
        return self.results / "_experiments" / "exp" / "difix_data"

    def contents(self, folder: Path) -> dict[str, bytes]:
        """Return every file below a folder with its bytes, but for the run's configuration."""
        found = (path for path in folder.rglob("*") if path.is_file())
        files = (path for path in found if path.name != "config.yaml")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def difix_built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Registry and data of four scenes of two pairs: 64 px, 4 frames, three cameras."""
    root = tmp_path_factory.mktemp("difix")
    registry = root / "registry"
    registry.mkdir()
    for number, name in enumerate(DIFIX_SCENES):
        recipe = {"action": "wave", "people": ["ada", "ben"], "seed": number, "frames": 4}
        small = {"image_size": 64, "cameras": [4, 28, 52], "skip_frames": [3] * (number == 0)}
        scene = {"seq_name": name, "cam_id": 28, "raw_gt_dir_path": f"truth/{name}"}
        content = json.dumps({**scene, "synthetic": recipe | small})
        (registry / f"{name}.json").write_text(content, encoding="utf-8")
    ensure_scene_data(load_scenes(registry), root / "scenes")
    return registry, root / "scenes"


@pytest.fixture(scope="session")
def difix_made(difix_built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with the shards of all four scenes."""
    results = tmp_path_factory.mktemp("difix_made") / "results"
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    for name in DIFIX_SCENES:
        assert DifixScenes(*difix_built, results).generate(name=name) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return results


@pytest.fixture
def difix(difix_built: tuple[Path, Path], tmp_path: Path) -> Iterator[DifixScenes]:
    """The four scenes with empty results of the test's own."""
    yield from _with_handlers(DifixScenes(*difix_built, tmp_path / "results"))


@pytest.fixture
def shards(difix: DifixScenes, difix_made: Path) -> DifixScenes:
    """The four scenes with a copy of all four shards."""
    shutil.copytree(difix_made, difix.results)
    return difix


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Registry and data of the tiny scene: two people, 64 px, 6 frames of which one is skipped."""
    root = tmp_path_factory.mktemp("tiny_scene")
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
def tiny_scene(built: tuple[Path, Path], tmp_path: Path) -> Iterator[TinyScene]:
    """The tiny scene with results of the test's own; signal handlers are restored afterwards."""
    yield from _with_handlers(TinyScene(*built, tmp_path / "results"))


@pytest.fixture(scope="module")
def module_tiny_scene(
    built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TinyScene]:
    """The tiny scene with results that the tests of one file share."""
    results = tmp_path_factory.mktemp("shared_results")
    yield from _with_handlers(TinyScene(*built, results))


def _with_handlers(place: Place) -> Iterator[Place]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield place
    for number, handler in before.items():
        signal.signal(number, handler)
