"""How long many short scenes take on Slurm: contenders in turn on one private cluster."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.prefect_lab import create_database
from benchmarks.processes import run_command
from benchmarks.slurm.contenders import CONTENDERS, Contender
from benchmarks.slurm.lab import QUERIES, Lab, private_slurm, stamps_folder
from benchmarks.subject import Aim, Measure, Row, Size, Subject, UnavailableError, median

SCENES: Mapping[Size, int] = {"quick": 8, "usual": 40, "full": 40}
MIXED_SCENES: Mapping[Size, int] = {"usual": 24, "full": 40}
PARALLELISM = 4
TIMEOUT_S = 180.0
POLL_S = 0.05
SEED, SPREAD = 13, 0.8
FIRST, LAST, END = "command to first scene", "command to last scene", "command to end"
JOBS, CALLS = "first job to last scene", "Slurm queries a minute"


def equal(count: int) -> list[float]:
    """Return durations of one second each."""
    return [1.0] * count


def mixed(count: int) -> list[float]:
    """Return lognormal durations, the same each time, whose sum is as many seconds as scenes."""
    source = random.Random(SEED)
    drawn = [source.lognormvariate(0, SPREAD) for _ in range(count)]
    return [each * count / sum(drawn) for each in drawn]


def ideal_s(durations: Sequence[float]) -> float:
    """Return the seconds that scenes need at the least, `PARALLELISM` at once."""
    return max(sum(durations) / PARALLELISM, *durations)


def measure(lab: Lab, contender: Contender, durations: Sequence[float], home: Path) -> list[Row]:
    """Run all scenes once; raises UnavailableError when they did not all end."""
    with stamps_folder() as folder, lab.cleared():
        (folder / "durations").write_text("\n".join(map(str, durations)), encoding="utf-8")
        environment = {**lab.environment, "STAMPS": str(folder), "PREFECT_HOME": str(home)}
        command = contender.command(folder, len(durations), PARALLELISM)
        began = time.time()
        run_command(command, environment=environment, timeout_s=TIMEOUT_S)
        ended = time.time()
        scenes = _wait_for_scenes(folder, len(durations))
        check_parallelism(_stamps(folder, "began"), scenes)
        return rows_of(contender, folder, began, max(ended, *scenes), ideal_s(durations))


def _wait_for_scenes(folder: Path, count: int) -> list[float]:
    """Return when the scenes ended: some commands submit and leave."""
    deadline = time.monotonic() + TIMEOUT_S
    while len(ended := _stamps(folder, "ended")) < count:
        if time.monotonic() > deadline:
            raise UnavailableError(f"{len(ended)} of {count} scenes ended in {TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)
    return ended


def check_parallelism(began: Sequence[float], ended: Sequence[float]) -> None:
    """Raise UnavailableError where more scenes ran at once than may: that is no rival."""
    changes = sorted([*((moment, 1) for moment in began), *((moment, -1) for moment in ended)])
    most = max(itertools.accumulate(change for _, change in changes))
    if most > PARALLELISM:
        raise UnavailableError(f"it ran {most} scenes at once, {PARALLELISM} are allowed")


def rows_of(
    contender: Contender, folder: Path, began: float, ended: float, ideal: float
) -> list[Row]:
    """Return a contender's rows from its stamps, all in seconds since 1970."""
    row = partial(Row, variant=contender.name, role=contender.role)
    first, last = min(_stamps(folder, "began")), max(_stamps(folder, "ended"))
    rows = [
        row(name, samples=(moment - began,))
        for name, moment in ((FIRST, first), (LAST, last), (END, ended))
    ]
    if jobs := _stamps(folder, "jobs"):
        rows.append(row(JOBS, samples=((last - min(jobs)) / ideal,), unit="of ideal"))
    calls = (folder / "calls").read_text().split() if (folder / "calls").exists() else []
    queries = sum(call in QUERIES for call in calls)
    return [*rows, row(CALLS, samples=(queries * 60 / (ended - began),), unit="1/min")]


def _stamps(folder: Path, name: str) -> list[float]:
    """Return the moments in a file of stamps whose lines are complete."""
    file = folder / name
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    return [float(line) for line in lines if line.endswith("\n")]


@contextmanager
def opened(durations: Callable[[Size], list[float]], size: Size) -> Iterator[Mapping[str, Measure]]:
    """Start the cluster, make Prefect's database, and yield the contenders."""
    seconds = durations(size)
    with private_slurm() as lab, tempfile.TemporaryDirectory() as home:
        create_database(Path(home))
        yield {each.name: partial(measure, lab, each, seconds, Path(home)) for each in CONTENDERS}


def _mixed_of(size: Size) -> list[float]:
    if size not in MIXED_SCENES:
        raise UnavailableError("left out of a quick run")
    return mixed(MIXED_SCENES[size])


ABOUT = f"""\
A private Slurm on this machine (`tests/slurm/private_slurm`: several nodes, eight made-up GPUs), \
at most {PARALLELISM} scenes at once, one GPU each, all in one partition. {{scenes}} The command \
starts cold: no server, no cluster, no remembered probe. *Command to end* is until the command and \
all scenes have ended; *of ideal* is a multiple of what the scenes need at the least. Queries are \
calls of squeue, sacct, scontrol and sinfo, whoever made them.

- *sbatch array*: `--array=…%{PARALLELISM}`; each task starts the scene's script, as ours do.
- *submitit*: `map_array` with `slurm_array_parallelism`, then `result()` of each job. The scene \
is a function in the job's Python; so it is with the next two and the stock DaskTaskRunner.
- *hydra-submitit-launcher*: `--multirun` over the scenes' numbers, with `array_parallelism`.
- *executorlib*: `SlurmClusterExecutor` with `block_allocation=True`, its way for many calls.
- *snakemake*: `--executor slurm --jobs {PARALLELISM}` with job grouping, its way for short jobs \
(as many scenes a job as ours). Set besides: `--slurm-init-seconds-before-status-checks 1`, since \
by default it first looks after 40 s; `--slurm-status-command squeue`, as there is no accounting.
- *stock DaskTaskRunner*: prefect-dask's, on dask-jobqueue's SLURMCluster of {PARALLELISM} jobs.
- *our flow*: `python -m flows.train --cluster slurm`, as many scenes a job as there are for each. \
It tries the script with a probe job first, keeps a record of each scene, and ends with a report.
- *our array*: `training/run.py --submit`, one scene a job.
"""
WHY = {
    JOBS: (
        "Ours starts a Dask worker in each job of the flow, or our launcher in each task of the "
        "array, and keeps a supervisor and a record for each scene; all nodes of the private Slurm "
        "share this machine's cores for it. Tried, and in use: workers import neither Prefect nor "
        "what only aggregates need, supervisors start while a worker joins and are kept for the "
        "next scene, scenes are forked, and a task of an array reads its own scene from the plan."
    ),
    CALLS: (
        "Ours asks Slurm whether its jobs live, so that one that is lost, held or refused is "
        "known. Nobody asks after a bare array, nor does stock Dask ask. Tried, and in use: one "
        "query for all jobs, every 2 s while something changes and every 15 s otherwise; these "
        "runs are so short that all of it is change."
    ),
    "our flow": (
        "Before its first job it checks every scene and override, keeps a snapshot of the sources, "
        "and tries script, environment and address with a probe job, while Prefect and its server "
        "start on the same cores; afterwards it writes the report and brings Prefect's states to "
        "an end. These seconds are the same for scenes of minutes. Tried, and in use: the server "
        "imports while the plan is made, and no Dask; scheduler, probe and first jobs are there "
        "before Prefect is; a probe that has passed is remembered for a day (not here, where each "
        "run is a first one); the summary is written by a process that imports while scenes run. "
        "What is left is computing, most of it imports, which two cores do for flow, server, probe "
        "and four workers. Tried and dropped: scenes that begin before Prefect is there; that was "
        "at odds with the adoption of scenes whose flow has died."
    ),
    "our array": (
        "It checks and keeps a snapshot as our flow does, and each task starts a supervisor "
        "beside the scene, which keeps its record and outlives what is killed. Tried, and in use: "
        "a job's first process imports next to nothing and is replaced by the task's, and that "
        "reads a plan's line, not the plan."
    ),
}
VARIANTS = tuple(each.name for each in CONTENDERS)
EQUAL = Subject(
    name="slurm_makespan",
    title="Equal scenes on Slurm",
    about=ABOUT.format(scenes="All scenes sleep for 1 s."),
    opened=partial(opened, lambda size: equal(SCENES[size])),
    variants=VARIANTS,
    why=WHY,
    aims=(
        Aim(
            "our flow, first job to last scene, equal scenes / ideal",
            median(JOBS, "our flow"),
            1.25,
        ),
    ),
)
MIXED = Subject(
    name="slurm_mixed",
    title="Mixed scenes on Slurm",
    about=(
        "As before, with the same settings, but scenes of lognormal length (seeded, sigma "
        f"{SPREAD}, as many seconds in all as scenes)."
    ),
    opened=partial(opened, _mixed_of),
    variants=VARIANTS,
    why=WHY,
    max_rounds=2,
)
SUBJECTS = (EQUAL, MIXED)
