"""The beginning of every Slurm job: the Slurm script calls `training/run.py --in-job STAGE PLAN`.

Imports next to nothing: each job pays for it before the stage's own module starts in its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.roots import CHECKOUT

IN_JOB = "--in-job"
MODULES = {
    "array": "training.jobs.array_task",
    "aggregate": "training.jobs.aggregate_task",
    "worker": "flows.slurm.dask_worker",
    "probe": "flows.slurm.probe",
    "controller": "flows.controller.job",
}
"""Module to run, by stage; as names, because nothing in `training` may import a flow."""
ENTRY_VARIABLE = "TS_JOB_ENTRY"
"""Names the file from which the preamble of `training.slurm.forwarding` knows this process."""


def exec_job_stage(arguments: Sequence[str]) -> None:
    """Replace this process by the module of the stage that the arguments name.

    Returns when they name none: then this is no job, or `refuse_stage` has something to say. Where
    `srun` starts several copies in one job (`--ntasks`), all but the first end with exit status 0.
    """
    if len(arguments) > 1 and arguments[0] == IN_JOB and arguments[1] in MODULES:
        _, stage, *more = arguments
        if (number := os.environ.get("SLURM_PROCID", "0")) not in {"", "0"}:
            print(f"task {number} of this job steps aside: one is enough", flush=True)
            sys.exit(0)
        _register()
        os.chdir(CHECKOUT)
        command = [sys.executable, "-m", MODULES[stage], *more]
        os.execv(sys.executable, command)  # noqa: S606 - no shell wanted


def refuse_stage(arguments: Sequence[str]) -> None:
    """Raise FaultsError for arguments that name a stage which does not exist."""
    if arguments[:1] == [IN_JOB]:
        stage = next(iter(arguments[1:]), "")
        raise FaultsError([Fault(f"{IN_JOB}: no such stage", stage, did_you_mean(stage, MODULES))])


def _register() -> None:
    """Register this process, whose id stays the same, to get the signals of the job's script."""
    if file := os.environ.get(ENTRY_VARIABLE):
        with contextlib.suppress(OSError):  # then a signal stops the script, as without forwarding
            Path(file).write_text(f"{os.getpid()}\n", encoding="ascii")
        # A shell has its background jobs ignore it, and a launcher stops its trainers by it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
