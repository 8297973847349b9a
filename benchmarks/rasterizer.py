"""Compare the two rasterizers for CPUs: CPU seconds of a step's rendering, and of whole trainings.

`python benchmarks/rasterizer.py` builds the scene synthetic_pair01_wave in a temporary folder and
takes its people as they are before training. It renders them forward and backward with both
rasterizers in turn, in images of three sizes, then trains the scene with both in turn
(`--trainings 0` leaves that out). CPU seconds, user and system, so that a busy machine changes
little; ratios are medians over rounds. One thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # noqa: E402

from preprocess.registry import load_scenes  # noqa: E402
from preprocess.synthetic.build import ensure_scene_data  # noqa: E402
from training.trainer.cameras.camera import Camera  # noqa: E402
from training.trainer.config.compose import load_config  # noqa: E402
from training.trainer.config.schema import CpuRasterizer  # noqa: E402
from training.trainer.gaussians.rasterizer import cpu_rasterizer  # noqa: E402
from training.trainer.input_checks import check_inputs  # noqa: E402
from training.trainer.setup import prepare_run  # noqa: E402
from training.trainer.termination import SignalRequests  # noqa: E402

NAME = "synthetic_pair01_wave"
TRAINER = CHECKOUT / "training" / "simple_multi_human_trainer.py"
SIZES = ((96, 1_000), (192, 3_000), (960, 50_000))
"""Side of the square image, pixels, and Gaussians a person."""


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trainings", type=int, default=2, help="rounds of whole trainings")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scenes = load_scenes(CHECKOUT / "preprocess" / "scenes")
        ensure_scene_data([scene for scene in scenes if scene.seq_name == NAME], Path(folder))
        print(
            "| Gaussians | image | pytorch ms | compiled ms | times faster |\n" + "|---" * 5 + "|"
        )
        for side, count in SIZES:
            measure = _rendering(Path(folder), side, count)
            names = [f"{2 * count:,}", f"{side} x {side}"]
            _print_row(names, _interleave(measure, given.rounds), 1e3)
        if given.trainings:
            print("\n| training of | pytorch s | compiled s | times faster |\n" + "|---" * 4 + "|")
            rounds = _interleave(partial(_train, Path(folder)), given.trainings)
            _print_row([NAME], rounds, 1)


def _interleave(
    measure: Callable[[CpuRasterizer], float], rounds: int
) -> list[tuple[float, float]]:
    """Return the CPU seconds of both rasterizers, by round."""
    return [(measure("pytorch"), measure("compiled")) for _ in range(rounds)]


def _print_row(names: list[str], rounds: list[tuple[float, float]], unit: float) -> None:
    seconds = [statistics.median(column) * unit for column in zip(*rounds, strict=True)]
    ratio = statistics.median(one / other for one, other in rounds)
    print("| " + " | ".join([*names, *(f"{each:.1f}" for each in seconds), f"{ratio:.1f}"]) + " |")


def _arguments(folder: Path, name: str) -> list[str]:
    return [
        f"shared.scene_name={NAME}",
        f"shared.exp_name={name}",
        f"shared.scene_data_root={folder}",
        f"shared.results_root={folder / 'results'}",
        "device=cpu",
    ]


def _rendering(folder: Path, side: int, count: int) -> Callable[[CpuRasterizer], float]:
    """Return a function that renders once, forward and backward, and returns its CPU seconds.

    With `count` Gaussians a person, and a square image of `side` pixels.
    """
    arguments = [*_arguments(folder, f"size_{side}"), f"model.gaussians_per_person={count}"]
    config = load_config(arguments)
    run = prepare_run(config, check_inputs(config), SignalRequests())
    with torch.no_grad():
        people = run.model.gaussians_at(0)
    parts = (people.means, people.covars, people.opacities, people.features)
    seen_by = run.source.view(run.source_id, 0).camera
    scale = torch.tensor([side / seen_by.width, side / seen_by.height, 1.0])[:, None]
    camera = Camera(seen_by.viewmat, seen_by.intrinsics * scale, side, side)

    def render(name: CpuRasterizer) -> float:
        rasterize = cpu_rasterizer(name)
        leaves = [part.detach().requires_grad_() for part in parts]
        started = time.process_time()
        features, depth, alpha = rasterize(*leaves, camera)
        torch.autograd.backward(features.square().sum() + depth.sum() + alpha.sum())
        return time.process_time() - started

    render("pytorch")
    render("compiled")
    return render


def _train(folder: Path, name: CpuRasterizer) -> float:
    """Train the scene in a process of its own; return its CPU seconds."""
    arguments = [*_arguments(folder, f"{name}_{time.monotonic_ns()}"), f"cpu_rasterizer={name}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, str(TRAINER), *arguments], check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
