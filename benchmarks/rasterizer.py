"""The two rasterizers for CPUs: a step's rendering, a trainer's iterations, whole trainings."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.processes import CHECKOUT, run_command
from benchmarks.subject import Aim, Measure, Role, Row, Size, Subject, ratio
from benchmarks.synthetic_scene import build_scene

if TYPE_CHECKING:
    from training.trainer.loop import TrainingRun

Name = Literal["compiled", "pytorch"]
ROLES: Mapping[Name, Role] = {"compiled": "ours", "pytorch": "peer"}
SIZES = ((96, 1_000), (192, 3_000), (960, 50_000))
"""Side of the square image, pixels, and Gaussians a person."""
TRAINED = 192, 3_000
TRAINER = CHECKOUT / "training" / "simple_multi_human_trainer.py"
ITERATIONS = "iterations a CPU second"


@contextmanager
def opened(size: Size) -> Iterator[Mapping[str, Measure]]:
    """Build a scene and prepare a training of it with each rasterizer; yield both."""
    import torch

    torch.set_num_threads(1)
    sizes = SIZES[:1] if size == "quick" else SIZES
    with tempfile.TemporaryDirectory() as name:
        scene = build_scene(Path(name), TRAINED[0], 8)
        runs = {side: _prepared(scene, count) for side, count in sizes}
        trained = _prepared(scene, TRAINED[1])
        yield {each: partial(measure, each, runs, trained, scene, size) for each in ROLES}


def measure(
    name: Name, runs: Mapping[int, TrainingRun], run: TrainingRun, scene: list[str], size: Size
) -> Iterator[Row]:
    """Yield one rasterizer's CPU time of rendering, its iterations, and its whole training."""
    row = partial(Row, variant=name, role=ROLES[name])
    for side, prepared in runs.items():
        gaussians = len(prepared.model.gaussians.person)
        title = f"forward and backward, {gaussians:,} Gaussians, {side} px"
        yield row(title, samples=(1000 * _rendering_s(prepared, name, side),), unit="ms")
    steps = 5 if size == "quick" else 20
    yield row(ITERATIONS, samples=(_iterations(run, name, steps),), unit="1/s", better="higher")
    if size == "full":
        exp_name = f"shared.exp_name={name}_{time.monotonic_ns()}"
        command = [sys.executable, str(TRAINER), *scene, exp_name, f"cpu_rasterizer={name}"]
        yield row("a whole training", samples=(run_command(command).cpu_s,))


def _prepared(scene: list[str], gaussians: int) -> TrainingRun:
    from training.trainer.config.compose import load_config
    from training.trainer.input_checks import check_inputs
    from training.trainer.setup import prepare_run
    from training.trainer.termination import SignalRequests

    keys = ["device=cpu", f"model.gaussians_per_person={gaussians}"]
    config = load_config([*scene, *keys, f"shared.exp_name=of_{gaussians}"])
    return prepare_run(config, check_inputs(config), SignalRequests())


def _rendering_s(run: TrainingRun, name: Name, side: int) -> float:
    """Return the CPU seconds of rendering forward and backward in a square image of `side`."""
    import torch

    from training.trainer.cameras.camera import Camera
    from training.trainer.gaussians.rasterizer import cpu_rasterizer

    with torch.no_grad():
        people = run.model.gaussians_at(0)
    parts = (people.means, people.covars, people.opacities, people.features)
    seen_by = run.source.view(run.source_id, 0).camera
    scale = torch.tensor([side / seen_by.width, side / seen_by.height, 1.0])[:, None]
    camera = Camera(seen_by.viewmat, seen_by.intrinsics * scale, side, side)
    rasterize = cpu_rasterizer(name)

    def render() -> None:
        leaves = [part.detach().requires_grad_() for part in parts]
        features, depth, alpha = rasterize(*leaves, camera)
        torch.autograd.backward(features.square().sum() + depth.sum() + alpha.sum())

    return _median_s(render, 3)


def _iterations(run: TrainingRun, name: Name, steps: int) -> float:
    """Return how many iterations over all that is trained take a CPU second."""
    from training.trainer.gaussians.rasterizer import use_cpu_rasterizer
    from training.trainer.loop import fit_all

    use_cpu_rasterizer(name)
    turns = itertools.cycle(range(len(run.source.frames)))

    def step() -> None:
        fit_all(run, [run.source.stored(run.source_id, next(turns))], 1)

    return 1 / _median_s(step, steps)


def _median_s(step: Callable[[], None], times: int) -> float:
    """Return the median CPU seconds of a step, after one that is not counted."""
    import statistics

    taken = []
    for _ in range(times + 1):
        started = time.process_time()
        step()
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:])


SUBJECTS = (
    Subject(
        name="rasterizer",
        title="Training on the CPU",
        about=(
            "Both rasterizers for CPUs over the same people of a synthetic scene, in one process "
            "with one thread, CPU time: rendering a view forward and backward, and the trainer's "
            f"iterations over all that it trains ({2 * TRAINED[1]:,} Gaussians, {TRAINED[0]} px). "
            "`--full` also trains the scene as a whole. *pytorch* is the same rasterizer in "
            "PyTorch's operations."
        ),
        opened=opened,
        variants=tuple(ROLES),
        aims=(
            Aim(
                "iterations a second, compiled / PyTorch",
                ratio(ITERATIONS, "compiled", "pytorch"),
                1.5,
                "higher",
            ),
        ),
    ),
)
