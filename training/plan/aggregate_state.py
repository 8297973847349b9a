"""How an experiment's aggregate stands by its record; what merges nothing has no state."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.faults import MOST_NAMES, counted
from training.configuration.run_modes import AGGREGATE
from training.plan.model import Plan
from training.records.aggregate_record import AggregateRecord, read_aggregate
from training.records.claim import holder_of
from training.records.record import RecordError
from training.records.scene_state import KILLED, UNREADABLE, State


@dataclass(frozen=True)
class AggregateState:
    """The aggregate of an experiment at one moment, for status, report and exit statuses."""

    state: State
    log: Path
    cause: str = ""
    """Why it failed; of a queued one what it waits for."""
    job_id: str = ""
    message: str = ""
    """How it ended, or why it was not started, as a sentence."""
    output: Path | None = None
    """What a done one has merged, where it is there."""

    @property
    def is_done(self) -> bool:
        """Whether its record says done."""
        return self.state == "done"

    @property
    def state_and_cause(self) -> str:
        """`done`, `failed (timeout)`."""
        return f"{self.state} ({self.cause})" if self.cause else self.state

    def __str__(self) -> str:
        job = f", job {self.job_id}" if self.job_id else ""
        log = f", log {self.log}" if self.log.exists() else ""
        return f"{self.state_and_cause}{job}{log}" + (f": {self.message}" if self.message else "")


def aggregating_plan(plans: Sequence[Plan]) -> Plan | None:
    """Return the newest of these plans, newest first, if its scenes' outputs are to be merged."""
    newest = plans[0] if plans else None
    return newest if newest and newest.aggregate and newest.aggregate.command else None


def recorded_aggregate(plans: Sequence[Plan]) -> AggregateState | None:
    """Return how the aggregate of these plans, newest first, stands by its record alone.

    None where nothing is to be merged.
    """
    plan = aggregating_plan(plans)
    if plan is None or plan.aggregate is None:
        return None
    folder, log = plan.roots.experiment_folder(plan.exp_name), plan.aggregate.log
    try:
        record = read_aggregate(folder)
        if record is None or not is_of(record, plan):
            return _not_started(plan)
        if record.status == "running" and holder_of(folder) is None:
            return AggregateState("failed", log, KILLED, record.slurm_job_id, "it left no end")
    except RecordError as error:
        return AggregateState("failed", log, UNREADABLE, message=str(error))
    cause = record.cause if record.status == "failed" and record.cause else ""
    output = merged_output(plan) if record.status == "done" else None
    return AggregateState(record.status, log, cause, record.slurm_job_id, record.message, output)


def merged_output(plan: Plan) -> Path | None:
    """Return the file that the own trainer's merge has written last: the refiner's `data.json`.

    None where it is not there; another trainer merges into files of its own.
    """
    folder = plan.roots.experiment_folder(plan.exp_name) / AGGREGATE.output_subdir
    path = folder / AGGREGATE.expected_outputs[0]
    return path if path.is_file() else None


def is_of(record: AggregateRecord, plan: Plan) -> bool:
    """Return whether a record is of the plan's aggregate, or of a later one of all its scenes."""
    if record.plan_id == plan.plan_id:
        return True
    names = {scene.name for scene in plan.scenes}
    return record.start >= plan.created and names <= set(record.scenes)


def submitted_job(plan: Plan) -> str:
    """Return the id of the Slurm job that was submitted for a plan's aggregate; empty if none."""
    with contextlib.suppress(OSError):
        return plan.aggregate_job.read_text(encoding="ascii").strip()
    return ""


def missing_text(not_done: Sequence[str], total: int) -> str:
    """Return which of so many scenes keep them from being merged; empty if all are done."""
    if not not_done:
        return ""
    named = ", ".join(not_done[:MOST_NAMES]) + (", …" if len(not_done) > MOST_NAMES else "")
    verb = "is" if total == 1 else "are"
    return f"{len(not_done)} of {counted(total, 'scene')} {verb} not done: {named}"


def _not_started(plan: Plan) -> AggregateState:
    log = plan.aggregate.log if plan.aggregate else Path()
    if plan.cancelled.exists():
        return AggregateState("cancelled", log, message="the experiment was cancelled")
    return AggregateState("not started", log, job_id=submitted_job(plan))
