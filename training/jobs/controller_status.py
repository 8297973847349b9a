"""How a flow in a job of its own stands: its record, Slurm's queue, and how its job ended."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from preprocess.faults import counted
from training.jobs.experiment_jobs import StageJob
from training.jobs.sbatch_commands import controller_name
from training.plan.model import Plan
from training.records.controller_record import (
    ControllerRecord,
    controller_job_id,
    read_controller,
    write_controller,
)
from training.records.record import RecordError
from training.slurm import client
from training.slurm.job_states import CLOCKS_DIFFER
from training.slurm.parsers import QueuedJob
from training.system.scene_log import last_message
from training.system.typed_command import spelled

GONE = "its job is gone; the same command goes on"

NOT_KNOWN = "not known, since Slurm does not answer"


@dataclass(frozen=True)
class ControllerState:
    """The controller of an experiment at one moment, in words."""

    text: str
    """Whether it is queued, runs since when, or how it ended."""
    job_id: str
    node: str = ""
    restarts: int = 0
    """How often the flow was started again."""
    log: Path | None = None

    def __str__(self) -> str:
        on_node = f" on {self.node}" if self.node else ""
        again = f", started again {counted(self.restarts, 'time')}" if self.restarts else ""
        log = f", log {self.log}" if self.log and self.log.exists() else ""
        job = f", Slurm job {self.job_id}" if self.job_id else ""
        return f"{self.text}{on_node}{job}{again}{log}"


def controller_state(
    plans: Sequence[Plan], jobs: Sequence[StageJob], *, unknown: bool = False
) -> ControllerState | None:
    """Return how the controller of these plans, newest first, stands; None where they have none.

    `jobs`: the experiment's jobs in Slurm's queue. `unknown`: Slurm does not say what it has.
    """
    job = next((each for each in jobs if each.stage == "controller"), None)
    plan = job.plan if job else _submitted_plan(plans)
    record = _record_or_none(plan)
    if plan is None or record is None:
        return None
    restarts = max(0, len(record.starts) - 1)
    if job:
        text, job_id = _text_in_queue(job.job, record), job.job.job_id
        return ControllerState(text, job_id, job.job.node, restarts, log_of(plan, job_id))
    text = NOT_KNOWN if unknown and record.end is None else _text_of_end(record)
    job_id = controller_job_id(plan.file)
    return ControllerState(text, job_id, "", restarts, log_of(plan, job_id))


def reconcile_controller(plans: Sequence[Plan], queued: Collection[str]) -> None:
    """Write into the record of a controller whose job has ended unseen how Slurm says it did.

    `queued`: ids of the jobs in Slurm's queue.
    """
    plan = _submitted_plan(plans)
    record = _record_or_none(plan)
    if plan is None or record is None or record.end:
        return
    job_id = controller_job_id(plan.file)
    end = client.job_ends({job_id}).get(job_id) if job_id and job_id not in queued else None
    if end is None:
        return
    if end.end and end.end + CLOCKS_DIFFER < plan.created:
        return  # of a job that had the same id before the plan was made
    with contextlib.suppress(OSError):
        said = "" if record.starts else f": {last_message(log_of(plan, job_id))}"
        write_controller(plan.file, record.ended(None, f"{end}{said}"))


def log_of(plan: Plan, job_id: str) -> Path:
    """Return the file with what a controller's job printed, in all its runs."""
    return plan.job_logs / f"{controller_name(plan)}-{job_id}.out"


def ways_to_watch(plan: Plan) -> str:
    """Return the command lines that watch, follow and cancel a plan's experiment, by its roots."""
    name = plan.stage.loop if plan.stage else plan.exp_name
    roots = ["--results-root", str(plan.roots.results_root)]
    roots += ["--state-root", str(plan.roots.state_root)]
    same = shlex.join(["--exp-name", name, *roots])
    lines = {
        "watch": f"{spelled('status')} --watch {same}",
        "follow a scene": f"{spelled('logs')} SCENE {same}",
        "cancel": f"{spelled('cancel')} {same}",
    }
    return "\n".join(f"{what}: {command}" for what, command in lines.items())


def _submitted_plan(plans: Sequence[Plan]) -> Plan | None:
    """Return the plan that the controller of the newest plan was submitted with; None if none."""
    for plan in plans:
        record = _record_or_none(plan)
        if record is not None:
            return plan if plans[0].plan_id in record.all_plans else None
    return None


def _record_or_none(plan: Plan | None) -> ControllerRecord | None:
    with contextlib.suppress(RecordError):
        return read_controller(plan.file) if plan else None
    return None


def _text_in_queue(job: QueuedJob, record: ControllerRecord) -> str:
    if job.is_pending:
        return f"queued ({job.reason})"
    started = record.starts[-1].start if record.starts else None
    return f"running since {_clock(started)}" if started else "starts"


def _text_of_end(record: ControllerRecord) -> str:
    if record.end is None:
        return GONE
    if record.exit_status is None:
        return f"{record.message}; the same command goes on"
    why = f", {record.message}" if record.message else ""
    return f"ended at {_clock(record.end)}, exit status {record.exit_status}{why}"


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
