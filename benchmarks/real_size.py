"""Measure memory and the seconds of each phase of training a scene of full size on the CPU.

`python benchmarks/real_size.py` builds a scene of Hi4D's size (2 people, 8 cameras, 150 frames,
940 x 1280 pixels) and trains a few iterations of it with 50,000 Gaussians a person. Rendering
1,200 views takes long, so that a few frames are rendered and repeated under further numbers
(--distinct 150 renders all). --keep names a folder where the scene stays for the next run.

Two processes, so that each has a peak memory of its own. Seconds are this process's CPU time, its
threads included; beside them are elapsed ones, which count on a quiet machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

NAME = "real_size"
CAMERAS = [4, 16, 28, 40, 52, 64, 76, 88]


@dataclass
class Phases:
    """CPU and elapsed seconds of each phase, and the memory when it ended, MB."""

    rows: list[tuple[str, float, float, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        cpu, elapsed = time.process_time(), time.monotonic()
        yield
        self.add(name, time.process_time() - cpu, time.monotonic() - elapsed)

    def add(self, name: str, cpu: float, elapsed: float) -> None:
        """Print and keep a phase."""
        peak = peak_mb()
        self.rows.append((name, cpu, elapsed, peak))
        print(f"{name:44} {cpu:8.2f} CPU s {elapsed:8.2f} s   peak {peak:6.0f} MB", flush=True)


def main() -> None:
    """Build the scene, then train and evaluate it, each in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--distinct", type=int, default=3, help="frames that are rendered")
    parser.add_argument("--size", type=int, nargs=2, default=[940, 1280], metavar=("W", "H"))
    parser.add_argument("--gaussians", type=int, default=50_000, help="a person")
    parser.add_argument("--iterations", type=int, default=6, help="of each stage")
    parser.add_argument("--overrides", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", type=Path, help="folder of the scene's data")
    parser.add_argument("--stage", choices=["build", "train"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        {"build": build, "train": train}[given.stage](given)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder)
        for stage in ("build", "train"):
            command = [sys.executable, __file__, *sys.argv[1:], f"--stage={stage}"]
            subprocess.run([*command, f"--keep={root}"], check=True)


def build(given: argparse.Namespace) -> None:
    """Build the scene below `given.keep` unless it is there."""
    from preprocess.registry import load_scenes
    from preprocess.synthetic.build import ensure_scene_data

    registry = given.keep / "registry"
    registry.mkdir(parents=True, exist_ok=True)
    recipe = {"action": "wave", "people": ["ada", "ben"], "image_size": given.size}
    recipe |= {"frames": given.distinct, "cameras": CAMERAS}
    scene = {"seq_name": NAME, "cam_id": 28, "raw_gt_dir_path": f"truth/{NAME}"}
    (registry / f"{NAME}.json").write_text(json.dumps({**scene, "synthetic": recipe}), "utf-8")
    phases, views = Phases(), given.distinct * (len(CAMERAS) + 1)
    with phases.phase(f"build {views} views"):
        made = ensure_scene_data(load_scenes(registry), given.keep / "scenes")
    for folder in made:
        repeat_frames(folder, given.distinct, given.frames)


def repeat_frames(folder: Path, distinct: int, frames: int) -> None:
    """Let the frames after the first `distinct` be further names of the same files."""
    for path in [path for path in folder.rglob("*") if path.stem.isdigit() and path.is_file()]:
        for frame in range(int(path.stem) + distinct, frames + 1, distinct):
            os.link(path, path.with_name(f"{frame:06d}{path.suffix}"))


def train(given: argparse.Namespace) -> None:
    """Train a few iterations of each stage; measure all that a run does beside them once."""
    phases = Phases()
    with phases.phase("start: configuration, checks, imports"):
        config, inputs = checked(given)
        import torch

        from training.trainer import loop, setup
        from training.trainer.evaluation.run_reports import RunReports
        from training.trainer.gaussians.ply_export import export_people
        from training.trainer.gaussians.visibility import color_hidden_gaussians
        from training.trainer.termination import SignalRequests
    torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
    RunReports.evaluate_initial = lambda *_: None  # type: ignore[method-assign]
    with phases.phase("load: body, poses, model, picture's views"):
        run = setup.prepare_run(config, inputs, SignalRequests())
    count = len(inputs.frames)
    with phases.phase(f"read the source camera's {count} views"):
        read = sum(run.source.stored(run.source_id, i).bytes for i in range(count))
    kept = run.source.cache.bytes
    print(f"{'':4}{read / count / 2**20:.1f} MB a view, {kept / 2**20:.0f} MB kept", flush=True)
    if run.novel.ids:
        with phases.phase(f"make {len(run.novel.ids) * count} novel views"):
            run.novel.make_or_load(run.model, made=False)
    for stage in loop.STAGES:
        measure_iterations(run, phases, stage, given.iterations)
    with phases.phase("colour hidden Gaussians"):
        color_hidden_gaussians(run.model, loop.views_of_all(run))
    evaluated = inputs.evaluated
    with phases.phase(f"evaluate {len(evaluated.cameras) * len(evaluated.indices)} views, picture"):
        run.reports.report_evaluation(run.model, 1, loop.run_facts(run))
    with phases.phase("write a checkpoint"):
        loop.save(run)
    size = run.output.checkpoint.stat().st_size / 2**20
    print(f"{'':4}the checkpoint is {size:.0f} MB", flush=True)
    with phases.phase("resume from it"):
        assert loop.resume(run)
    with phases.phase("write the people (.ply)"):
        export_people(run.output, run.model, posed={})


def checked(given: argparse.Namespace) -> tuple[Any, Any]:
    """Return the configuration and the inputs of a run."""
    from training.trainer.config.compose import load_config
    from training.trainer.input_checks import check_inputs

    results = tempfile.mkdtemp(prefix="results_", dir=given.keep)
    names = {"scene_name": NAME, "exp_name": "bench", "results_root": results}
    folders = {"scene_data_root": given.keep / "scenes"}
    file = given.keep / "registry" / f"{NAME}.json"
    shared = {**names, **folders, "scene_file": file}
    settings = [f"model.gaussians_per_person={given.gaussians}", *given.overrides]
    config = load_config([*(f"shared.{key}={value}" for key, value in shared.items()), *settings])
    return config, check_inputs(config)


def measure_iterations(run: Any, phases: Phases, stage: str, iterations: int) -> None:
    """Take iterations of one stage as the training loop does, and measure each."""
    from training.trainer import loop
    from training.trainer.termination import Terminated

    fit, cpu, elapsed = loop.STAGES[stage], list[float](), list[float]()
    last = [time.process_time(), time.monotonic()]

    def measured(*arguments: Any) -> dict[str, float]:
        loss = fit(*arguments)
        now = [time.process_time(), time.monotonic()]
        cpu.append(now[0] - last[0])
        elapsed.append(now[1] - last[1])
        last[:] = now
        run.requests.stop = len(cpu) == iterations
        return loss

    loop.STAGES[stage] = measured
    run.position = loop.Position()
    try:
        loop._train_epoch(run, 0, stage)  # noqa: SLF001 - the loop as it is, but stopped
    except Terminated:
        run.requests.stop = False
    phases.add(f"first iteration, stage {stage}", cpu[0], elapsed[0])
    medians = statistics.median(cpu[1:]), statistics.median(elapsed[1:])
    phases.add(f"iteration, stage {stage}, median of {len(cpu) - 1}", *medians)
    loop.STAGES[stage] = fit


def peak_mb() -> float:
    """Return the most memory that this process has had so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
