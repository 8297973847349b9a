"""What the start of a trainer costs: one epoch on almost nothing, beside PyTorch's import."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.processes import CHECKOUT, run_command
from benchmarks.subject import Aim, Measure, Role, Row, Size, Subject, ratio
from benchmarks.synthetic_scene import build_scene

TRAINER = CHECKOUT / "training" / "simple_multi_human_trainer.py"
CPU = "CPU"
OURS, TORCH = "trainer, one epoch of 2 frames", "import torch, one optimizer"
OPTIMIZER = "import torch; torch.optim.Adam([torch.zeros(1, requires_grad=True)])"


def measure(name: str, role: Role, command: Callable[[], Sequence[str]]) -> list[Row]:
    """Return what one start takes."""
    cost = run_command(command())
    row = partial(Row, variant=name, role=role)
    return [
        row(CPU, samples=(cost.cpu_s,)),
        row("wall", samples=(cost.wall_s,)),
        row("memory", samples=(cost.peak_mb,), unit="MB"),
    ]


@contextmanager
def opened(_size: Size) -> Iterator[Mapping[str, Measure]]:
    """Build a scene; yield the trainer and what it can't do without."""
    with tempfile.TemporaryDirectory() as folder:
        scene = build_scene(Path(folder), 48, 2, (4, 28, 52))
        keys = ["device=cpu", "model.gaussians_per_person=100", "train.optimization.epochs=1"]

        def train() -> list[str]:
            exp_name = f"shared.exp_name=start_{time.monotonic_ns()}"
            return [sys.executable, str(TRAINER), *scene, exp_name, *keys]

        run_command(train())  # compiles what is not compiled yet
        yield {
            TORCH: partial(measure, TORCH, "floor", lambda: [sys.executable, "-c", OPTIMIZER]),
            OURS: partial(measure, OURS, "ours", train),
        }


SUBJECTS = (
    Subject(
        name="trainer_start",
        title="Start of the trainer",
        about=(
            "The bundled trainer on a scene of two frames of 48 pixels and 200 Gaussians for one "
            "epoch, so that almost all is its start, its evaluations and its files; beside it an "
            "interpreter that imports PyTorch and makes an optimizer."
        ),
        opened=opened,
        variants=(TORCH, OURS),
        aims=(Aim("trainer's start / PyTorch's, CPU", ratio(CPU, OURS, TORCH), 2),),
    ),
)
