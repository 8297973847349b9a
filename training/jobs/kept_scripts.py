"""Copies of the Slurm script beside a plan: later edits of the original change no queued job."""

from __future__ import annotations

import contextlib
import glob

from preprocess.faults import Fault, FaultsError
from training.jobs.sbatch_commands import slurm_of
from training.plan.model import Plan
from training.system.atomic_write import write_atomically


def keep_scripts(plan: Plan) -> None:
    """Write both Slurm scripts of a plan and create the folder for job logs; raises FaultsError."""
    slurm = slurm_of(plan)
    try:
        write_atomically(plan.script, slurm.script_text)
        write_atomically(plan.light_script, slurm.light_script_text)
        # Slurm would end a job whose log can't be opened, without a message.
        plan.job_logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaultsError([Fault("the Slurm script can't be kept", str(error))]) from error


def discard_plan(plan: Plan) -> None:
    """Remove all files of a plan of which nothing was submitted or started."""
    for path in plan.file.parent.glob(f"{glob.escape(plan.plan_id)}.*"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        plan.job_logs.rmdir()
