"""What our Slurm jobs do: the Slurm script calls `training/run.py --in-job STAGE PLAN [more]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.settings import CHECKOUT

IN_JOB = "--in-job"
MODULES = {
    "array": "training.slurm.array_task",
    "aggregate": "training.slurm.aggregate_task",
    "worker": "flows.worker",
    "probe": "flows.probe",
}
"""By stage; as names, since nothing here may import a flow."""


def become_stage(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the stage's module; raises FaultsError for an unknown stage."""
    stage, *more = arguments or [""]
    if stage not in MODULES:
        raise FaultsError([Fault(f"{IN_JOB}: no such stage", stage, did_you_mean(stage, MODULES))])
    os.chdir(CHECKOUT)
    os.execv(sys.executable, [sys.executable, "-m", MODULES[stage], *more])  # noqa: S606 - no shell wanted
