"""Measure how long many short scenes take on Slurm, five ways, on a private cluster here.

    python benchmarks/slurm_makespan.py --scenes 40 --parallelism 4

`array` is a bare sbatch array, `submitit` its map_array, `stock` prefect-dask's DaskTaskRunner on
dask-jobqueue's SLURMCluster, `flow` is `python -m flows.train --cluster slurm`, and `run.py` is
`training/run.py --submit`. Each scene sleeps. Printed as multiples of the ideal (scenes x seconds /
parallelism): from the command to its end, and from the start of the first job that trains to the
end of the last scene. Needs what `make slurm-up` needs; `submitit` needs `pip install submitit`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "slurm")]

TRAINER = "benchmarks/sleeping_trainer.py"
TIMEOUT_S = 600
POLL_S = 0.05


def main() -> None:
    """Measure every contender in turn, for some rounds, and print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--parallelism", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        CONTENDERS[options.contender](options)
    else:
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    from private_slurm import (  # type: ignore[import-not-found,unused-ignore]
        default_folder,
        down,
        up,
    )

    folder = default_folder(f"makespan-{os.getpid()}")
    cluster = up(folder, accounting=False, owned=True)
    os.environ |= cluster.environment
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in options.only}
    try:
        with tempfile.TemporaryDirectory() as home:
            os.environ.pop("PREFECT_API_URL", None)
            os.environ["PREFECT_HOME"] = home
            _create_prefect_database(Path(home))
            for _ in range(options.rounds):
                for name in options.only:
                    found[name].append(_measure(name, options))
                    cluster.wait_empty()
    finally:
        down(folder)
    _print(found, options)


def _print(found: dict[str, list[tuple[float, float]]], options: argparse.Namespace) -> None:
    ideal_s = options.scenes * options.seconds / options.parallelism
    print(f"{options.scenes} scenes of {options.seconds} s, {options.parallelism} at once:")
    print(f"ideal {ideal_s:.1f} s; multiples of it, median of {options.rounds}")
    print(f"{'':10} {'command to end':>15} {'first job to end':>17}")
    for name, times in found.items():
        whole, jobs = (statistics.median(column) / ideal_s for column in zip(*times, strict=True))
        print(f"{name:10} {whole:15.2f} {jobs:17.2f}")


def _create_prefect_database(home: Path) -> None:
    """Create the database that `stock` and `flow` use: otherwise the first of them would."""
    from flows.server.managed import own_server
    from flows.server.settings import read_settings

    with own_server(home, read_settings(), dict(os.environ)) as api:
        api.wait_until_ready()


def _measure(name: str, options: argparse.Namespace) -> tuple[float, float]:
    """Return seconds from the command to its end, and from the first job to the last scene's end.

    The stamps lie below the checkout, where every node of the cluster sees them.
    """
    outputs = ROOT / "outputs"
    outputs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=outputs) as folder:
        os.environ["STAMPS"] = folder
        command = [sys.executable, __file__, "--contender", name]
        for key in ("scenes", "parallelism", "seconds"):
            command += [f"--{key}", str(getattr(options, key))]
        log = Path(folder, "log")
        began = time.time()
        with log.open("w") as stream:
            done = subprocess.run(
                command, cwd=ROOT, stdout=stream, stderr=stream, timeout=TIMEOUT_S, check=False
            )
        ended = time.time()
        scenes = [float(line) for line in _lines(folder, "scenes")]
        if done.returncode != 0 or len(scenes) != options.scenes:
            sys.exit(f"{name}: {len(scenes)} scenes ended\n{log.read_text()[-3000:]}")
        first_job = min(float(line) for line in _lines(folder, "jobs"))
        return ended - began, max(scenes) - first_job


def _lines(folder: str, name: str) -> list[str]:
    file = Path(folder, name)
    return file.read_text().split() if file.exists() else []


def _wait_for_scenes(count: int) -> None:
    while len(_lines(os.environ["STAMPS"], "scenes")) < count:
        time.sleep(POLL_S)


def sleep_scene(index: int, seconds: float) -> int:
    """Run one scene of the contenders that take a Python function; return its index."""
    time.sleep(seconds)
    with Path(os.environ["STAMPS"], "scenes").open("a") as stream:
        stream.write(f"{time.time()}\n")
    return index


STAMP_JOB = 'date +%s.%N >> "$STAMPS/jobs"'
STAMP_SCENE = 'date +%s.%N >> "$STAMPS/scenes"'


def _array(options: argparse.Namespace) -> None:
    script = f"#!/bin/bash\n{STAMP_JOB}\nsleep {options.seconds}\n{STAMP_SCENE}\n"
    indices = f"--array=0-{options.scenes - 1}%{options.parallelism}"
    command = ["sbatch", indices, "--output=/dev/null", "--time=5", "--gres=gpu:1"]
    subprocess.run(command, input=script, text=True, check=True)
    _wait_for_scenes(options.scenes)


def _submitit(options: argparse.Namespace) -> None:
    import submitit  # type: ignore[import-not-found,unused-ignore]

    executor = submitit.AutoExecutor(folder=Path(os.environ["STAMPS"], "submitit"))
    executor.update_parameters(
        timeout_min=5,
        slurm_array_parallelism=options.parallelism,
        slurm_gres="gpu:1",
        slurm_setup=[STAMP_JOB],
    )
    indices = range(options.scenes)
    jobs = executor.map_array(sleep_scene, indices, [options.seconds] * options.scenes)
    _wait_for_scenes(options.scenes)  # its own polling would add up to 15 s
    for job in jobs:
        job.result()


def _stock(options: argparse.Namespace) -> None:
    from flows.server.managed import STOP_TIMEOUT_S, prefect_api

    with prefect_api(Path(os.environ["STAMPS"]), verbose=False) as api:
        from prefect import flow, task
        from prefect_dask.task_runners import DaskTaskRunner

        from flows.adapters.prefect_adapter import send_buffered

        api.wait_until_ready()
        # Its workers report to the API themselves, with the password in their environment.
        runner: Any = DaskTaskRunner(
            cluster_class="dask_jobqueue.SLURMCluster",
            cluster_kwargs={
                "cores": 1,
                "memory": "500MB",
                "processes": 1,
                "n_workers": options.parallelism,
                "nanny": False,
                "interface": "lo",
                "job_script_prologue": [STAMP_JOB],
                "job_extra_directives": ["--gres=gpu:1", "--output=/dev/null", "--error=/dev/null"],
            },
        )
        scene = task(sleep_scene)

        @flow(task_runner=runner)
        def many() -> None:
            futures = scene.map(range(options.scenes), seconds=options.seconds)
            for future in futures:
                future.result()

        many()
        send_buffered(STOP_TIMEOUT_S)


def _flow(options: argparse.Namespace) -> None:
    per_job = -(-options.scenes // options.parallelism)
    _ours(options, ["-m", "flows.train", "--cluster", "slurm"], per_job)


def _run_py(options: argparse.Namespace) -> None:
    _ours(options, ["training/run.py", "--submit"], 1)
    _wait_for_scenes(options.scenes)


def _ours(options: argparse.Namespace, program: list[str], per_job: int) -> None:
    folder = Path(os.environ["STAMPS"])
    registry, script = folder / "registry", folder / "submit.slurm"
    registry.mkdir()
    for number in range(options.scenes):
        scene = {"seq_name": f"scene_{number:03}", "cam_id": 1}
        (registry / f"scene_{number:03}.json").write_text(json.dumps(scene))
    stamp = f'[ "$2" = probe ] || {STAMP_JOB}'  # the probe and the aggregate ask for no GPU
    lines = ["#!/bin/bash", "#SBATCH --gres=gpu:1 --time=5", stamp]
    script.write_text("\n".join([*lines, f'exec {sys.executable} training/run.py "$@"', ""]))
    roots = {key: str(folder / key) for key in ("results-root", "state-root", "scene-data-root")}
    command = [sys.executable, *program, "--run-all", "--exp-name", "makespan", "--yes"]
    command += ["--scenes-dir", str(registry), "--train-script", TRAINER]
    command += ["--slurm.slurm-script", str(script), "--slurm.scenes-per-job", str(per_job)]
    command += ["--slurm.array-parallelism", str(options.parallelism)]
    command += [word for key, value in roots.items() for word in (f"--{key}", value)]
    subprocess.run([*command, "--overrides", f"seconds={options.seconds}"], cwd=ROOT, check=True)


CONTENDERS: dict[str, Callable[[argparse.Namespace], None]] = {
    "array": _array,
    "submitit": _submitit,
    "stock": _stock,
    "flow": _flow,
    "run.py": _run_py,
}

if __name__ == "__main__":
    main()
