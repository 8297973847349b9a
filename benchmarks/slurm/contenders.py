"""The commands that run scenes on Slurm: ours, and other libraries' as their documentation says."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.peers import python_with
from benchmarks.processes import CHECKOUT
from benchmarks.scene_files import write_scenes
from benchmarks.subject import Role

HERE = Path(__file__).parent
SCENE = HERE / "scene.py"
STAMP_JOB = 'date +%s.%N >> "$STAMPS/jobs"'
GPU, PARTITION, MINUTES = "gpu:1", "gpu", 5

Command = Callable[[Path, int, int], Sequence[str]]
"""Makes a command of the folder for its files, the number of scenes, and how many at once."""


@dataclass(frozen=True)
class Contender:
    """One way to run scenes on Slurm; its command raises UnavailableError if it lacks something."""

    name: str
    role: Role
    command: Command


def sbatch_array(folder: Path, scenes: int, parallelism: int) -> list[str]:
    """Return sbatch with a script that starts a scene."""
    script = folder / "array.sh"
    scene = f'{shlex.quote(sys.executable)} {SCENE} "shared.scene_name=s_$SLURM_ARRAY_TASK_ID"'
    script.write_text(f"#!/bin/bash\n{STAMP_JOB}\nexec {scene}\n", encoding="utf-8")
    indices = f"--array=0-{scenes - 1}%{parallelism}"
    where = [f"--partition={PARTITION}", f"--gres={GPU}", f"--time={MINUTES}"]
    return ["sbatch", indices, *where, f"--output={folder}/%A_%a.log", str(script)]


def python_peer(
    package: str, script: str, folder: Path, scenes: int, parallelism: int
) -> list[str]:
    """Return the start of a program in `peers/` by the Python that has its library."""
    return [*_peer(package), _script(script), str(folder), str(scenes), str(parallelism)]


def _peer(package: str) -> list[str]:
    """Return the Python that has a library, where it and its jobs can import the scene."""
    return ["env", f"PYTHONPATH={HERE}", python_with(package)]


def _script(name: str) -> str:
    return str(HERE / "peers" / name)


def hydra(folder: Path, scenes: int, parallelism: int) -> list[str]:
    """Return a Hydra application's multirun over the scenes' numbers."""
    launcher = {
        "array_parallelism": parallelism,
        "timeout_min": MINUTES,
        "partition": PARTITION,
        "gres": f"'{GPU}'",
        "setup": f"['{STAMP_JOB}']",
    }
    settings = [f"hydra.launcher.{key}={value}" for key, value in launcher.items()]
    numbers = ",".join(map(str, range(scenes)))
    where = [f"hydra.sweep.dir={folder}/multirun", "hydra/launcher=submitit_slurm"]
    program = [*_peer("hydra-submitit-launcher"), _script("hydra_peer.py")]
    return [*program, "--multirun", *where, *settings, f"number={numbers}"]


def snakemake(folder: Path, scenes: int, parallelism: int) -> list[str]:
    """Return Snakemake on Slurm, with as many scenes grouped in a job as each GPU gets."""
    python = python_with("snakemake-executor-plugin-slurm")
    per_job = -(-scenes // parallelism)
    command = [python, "-m", "snakemake", "--snakefile", _script("Snakefile")]
    command += ["--directory", str(folder), "--executor", "slurm", "--jobs", str(parallelism)]
    command += ["--group-components", f"scenes={per_job}", "--slurm-no-account"]
    # One after the other in each group, as its jobs have one GPU.
    command += ["--resources", "scene_at_once=1", "--set-resource-scopes", "scene_at_once=local"]
    command += ["--slurm-init-seconds-before-status-checks", "1"]
    command += ["--slurm-status-command", "squeue"]  # the private Slurm has no accounting
    resources = [
        f"slurm_partition={PARTITION}",
        f"runtime={MINUTES}",
        "mem_mb=250",
        f"gres='{GPU}'",
    ]
    command += ["--default-resources", *resources]
    return [*command, "--config", f"scenes={scenes}", f"scene={SCENE}", f"python={python}"]


def flow(folder: Path, scenes: int, parallelism: int) -> list[str]:
    """Return our flow with as many scenes a job as each GPU gets."""
    per_job = -(-scenes // parallelism)
    more = ["--slurm.scenes-per-job", str(per_job)]
    return [*ours(["-m", "flows.train", "--cluster", "slurm"], folder, scenes, parallelism), *more]


def run_py(folder: Path, scenes: int, parallelism: int) -> list[str]:
    """Return our launcher, which submits an array and leaves."""
    return ours(["training/run.py", "--submit"], folder, scenes, parallelism)


def ours(program: Sequence[str], folder: Path, scenes: int, parallelism: int) -> list[str]:
    """Return one of our programs with scene files, a Slurm script and all roots in a folder."""
    registry, script = write_scenes(folder / "registry", scenes), folder / "submit.slurm"
    stamp = f'[ "$2" = probe ] || {STAMP_JOB}'
    lines = ["#!/bin/bash", f"#SBATCH --partition={PARTITION} --gres={GPU} --time={MINUTES}", stamp]
    script.write_text("\n".join([*lines, f'exec {sys.executable} training/run.py "$@"', ""]))
    command = [sys.executable, *program, "--run-all", "--exp-name", "bench", "--yes"]
    command += ["--scenes-dir", str(registry), "--train-script", str(SCENE.relative_to(CHECKOUT))]
    command += ["--slurm.slurm-script", str(script)]
    command += ["--slurm.array-parallelism", str(parallelism)]
    for key in ("results-root", "state-root", "scene-data-root"):
        command += [f"--{key}", str(folder / key)]
    return command


CONTENDERS = (
    Contender("sbatch array", "peer", sbatch_array),
    Contender("submitit", "peer", partial(python_peer, "submitit", "submitit_peer.py")),
    Contender("hydra-submitit-launcher", "peer", hydra),
    Contender("snakemake", "peer", snakemake),
    Contender("executorlib", "peer", partial(python_peer, "executorlib", "executorlib_peer.py")),
    Contender(
        "stock DaskTaskRunner", "peer", partial(python_peer, "prefect-dask", "stock_peer.py")
    ),
    Contender("our flow", "ours", flow),
    Contender("our array", "ours", run_py),
)
