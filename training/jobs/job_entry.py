"""The beginning of every Slurm job: the Slurm script calls `training/run.py --in-job STAGE PLAN`.

Imports next to nothing: each job pays for it before the stage's own module starts in its place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.roots import CHECKOUT

IN_JOB = "--in-job"
MODULES = {
    "array": "training.jobs.array_task",
    "aggregate": "training.jobs.aggregate_task",
    "worker": "flows.slurm.dask_worker",
    "probe": "flows.slurm.probe",
}
"""Module to run, by stage; as names, because nothing in `training` may import a flow."""


def exec_job_stage(arguments: Sequence[str]) -> None:
    """Replace this process by the module of the stage that the arguments name.

    Returns when they name none: then this is no job, or `refuse_stage` has something to say.
    """
    if len(arguments) > 1 and arguments[0] == IN_JOB and arguments[1] in MODULES:
        _, stage, *more = arguments
        os.chdir(CHECKOUT)
        command = [sys.executable, "-m", MODULES[stage], *more]
        os.execv(sys.executable, command)  # noqa: S606 - no shell wanted


def refuse_stage(arguments: Sequence[str]) -> None:
    """Raise FaultsError for arguments that name a stage which does not exist."""
    if arguments[:1] == [IN_JOB]:
        stage = next(iter(arguments[1:]), "")
        raise FaultsError([Fault(f"{IN_JOB}: no such stage", stage, did_you_mean(stage, MODULES))])
