"""What our Slurm jobs do: the Slurm script calls `training/run.py --in-job STAGE PLAN [more]`.

Light: it comes before all else in a job, and the stage's module begins anew.
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
"""By stage; as names, since nothing here may import a flow."""


def exec_job_stage(arguments: Sequence[str]) -> None:
    """Replace this process by the stage's module, where a command line's arguments name one."""
    if len(arguments) > 1 and arguments[0] == IN_JOB and arguments[1] in MODULES:
        _, stage, *more = arguments
        os.chdir(CHECKOUT)
        command = [sys.executable, "-m", MODULES[stage], *more]
        os.execv(sys.executable, command)  # noqa: S606 - no shell wanted


def refuse_stage(arguments: Sequence[str]) -> None:
    """Raises FaultsError for arguments that ask for a stage that there is not."""
    if arguments[:1] == [IN_JOB]:
        stage = next(iter(arguments[1:]), "")
        raise FaultsError([Fault(f"{IN_JOB}: no such stage", stage, did_you_mean(stage, MODULES))])
