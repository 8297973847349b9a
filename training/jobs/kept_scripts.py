"""Copies of the Slurm script beside a plan: later edits of the original change no queued job."""

from __future__ import annotations

import contextlib
import glob
import sys
from collections.abc import Mapping

from preprocess.faults import Fault, FaultsError
from training.jobs.sbatch_commands import (
    excluded_nodes,
    options_of_all,
    sbatch_options,
    slurm_of,
)
from training.plan.model import Plan
from training.plan.plan_file import write_plan
from training.plan.slurm_model import SlurmPlan
from training.slurm.bad_nodes import forget_bad_nodes
from training.slurm.batch_script import names_nodes, parse, value_of
from training.slurm.forwarding import with_forwarding
from training.slurm.script_checks import batch_signal
from training.slurm.start_elsewhere import Elsewhere
from training.system.atomic_write import write_atomically
from training.system.console import say


def keep_scripts(plan: Plan) -> None:
    """Write both Slurm scripts of a plan and create the folder for job logs; raises FaultsError.

    With --slurm.forget-bad-nodes those are forgotten that were known when the plan was made: not
    what an earlier stage or start of it has found.
    """
    slurm = slurm_of(plan)
    if slurm.forget_bad_nodes:
        forget_bad_nodes(plan.roots.state_root, plan.created)
    signal = batch_signal(parse(slurm.script_text)[0])
    try:
        # Slurm would end a job whose log can't be opened, without a message.
        plan.job_logs.mkdir(parents=True, exist_ok=True)
        for path, text, elsewhere in (
            (plan.script, slurm.script_text, _elsewhere(slurm, slurm.scene_options)),
            (plan.light_script, slurm.light_script_text, _elsewhere(slurm, {})),
        ):
            write_atomically(path, with_forwarding(text, plan.job_logs, signal, elsewhere))
    except OSError as error:
        raise FaultsError([Fault("the Slurm script can't be kept", str(error))]) from error


def write_lost_files(plan: Plan) -> None:
    """Write the plan and its scripts again where somebody has deleted them: jobs need them.

    What can't be written is said; the jobs' own logs say what they miss.
    """
    if all(file.exists() for file in (plan.file, plan.script, plan.light_script)):
        return
    try:
        write_plan(plan)
        keep_scripts(plan)
    except (OSError, FaultsError) as error:
        say(f"the plan's files are gone, and can't be written again: {error}", sys.stderr)


def _elsewhere(slurm: SlurmPlan, more: Mapping[str, str]) -> Elsewhere | None:
    """Return what it takes to start a job on another node; None where the script names its nodes.

    `more`: options of sbatch of this kind of job.
    """
    directives, _ = parse(slurm.script_text)
    if names_nodes(directives):
        return None
    exclude = excluded_nodes(slurm) or value_of(directives, "exclude") or ""
    return Elsewhere(exclude, [*options_of_all(slurm), *sbatch_options(more)])


def discard_plan(plan: Plan) -> None:
    """Remove all files of a plan of which nothing was submitted or started."""
    for path in plan.file.parent.glob(f"{glob.escape(plan.plan_id)}.*"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        plan.job_logs.rmdir()
