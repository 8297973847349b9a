"""How an experiment's aggregate stands: its record, Slurm's queue, and what Slurm says of its end.

Slurm cancels an aggregate's job when a scene's job fails (`afterok`), and then nothing of ours has
run: the next command that looks at the experiment writes the record.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from training.execution.merge import missing_scenes
from training.jobs.experiment_jobs import StageJob
from training.jobs.job_cause import cause_of_job
from training.plan.aggregate_state import (
    AggregateState,
    aggregating_plan,
    is_of,
    missing_text,
    recorded_aggregate,
)
from training.plan.model import Plan
from training.records.aggregate_record import (
    AggregateRecord,
    AggregateStatus,
    read_aggregate,
    write_aggregate,
)
from training.records.claim import ClaimHeldError, claimed
from training.records.record import Cause, RecordError, now
from training.records.scene_state import KILLED, SceneState
from training.slurm import client
from training.slurm.job_states import CLOCKS_DIFFER, JobEnd
from training.system.scene_log import last_message

WAITING = "waits for the scenes"
NEVER_STARTS = "it never starts, since a job that it waits for has failed; submit again"


def aggregate_state(
    plans: Sequence[Plan],
    jobs: Sequence[StageJob],
    scenes: Sequence[SceneState],
    *,
    at_work: Collection[str],
) -> AggregateState | None:
    """Return how the aggregate of these plans, newest first, stands; None where nothing merges.

    `jobs`: the experiment's jobs in the queue. `at_work`: ids of the plans whose launcher or flow
    lives.
    """
    plan, state = aggregating_plan(plans), recorded_aggregate(plans)
    if plan is None or state is None:
        return None
    if job := next((each.job for each in jobs if each.stage == "aggregate"), None):
        if job.is_pending:
            waits = replace(state, state="queued", cause=job.reason, job_id=job.job_id, message="")
            stuck = replace(waits, state="not started", message=NEVER_STARTS)
            return stuck if job.can_never_start else waits
        if state.state != "running":
            return replace(state, state="running", cause="", job_id=job.job_id, message="")
    if state.state == "not started" and plan.plan_id in at_work:
        return replace(state, state="queued", cause=WAITING)
    if state.state == "not started" and not state.message:
        missing = [each.scene for each in scenes if each.state != "done"]
        gone = f"its job {state.job_id} is gone" if state.job_id else ""
        message = "; ".join(filter(None, [gone, missing_text(missing, len(scenes))]))
        return replace(state, message=message)
    return state


def reconcile_aggregate(plans: Sequence[Plan], queued: Collection[str]) -> None:
    """Write the record of an aggregate whose job has ended and could not record how.

    `queued`: ids of the jobs in Slurm's queue.
    """
    plan, state = aggregating_plan(plans), recorded_aggregate(plans)
    if plan is None or state is None or not state.job_id or state.job_id in queued:
        return
    is_unexplained = state.cause == KILLED or (state.state == "not started" and not state.message)
    end = client.job_ends({state.job_id}).get(state.job_id) if is_unexplained else None
    if end is None or (end.end and end.end + CLOCKS_DIFFER < plan.created):
        return  # the latter had the same id, before the plan was made
    folder = plan.roots.experiment_folder(plan.exp_name)
    with contextlib.suppress(ClaimHeldError, RecordError, OSError), claimed(folder, os.getpid()):
        record = read_aggregate(folder)
        if record is None or not is_of(record, plan) or record.status == "running":
            write_aggregate(folder, _record_of(plan, record, end))


def _record_of(plan: Plan, record: AggregateRecord | None, end: JobEnd) -> AggregateRecord:
    """Return the record according to Slurm; `record` says running where our code had begun."""
    had_begun = record is not None and record.status == "running" and is_of(record, plan)
    begun = record if had_begun and record else _new_record(plan, end)
    cause, message = cause_of_job(end)
    status: AggregateStatus = "failed"
    if cause is Cause.CANCELLED:
        status = "cancelled" if had_begun or plan.cancelled.exists() else "not started"
        if not had_begun and (missing := _missing(plan)):
            message = f"{message}: it was to follow scenes that all succeed, {missing}"
    elif not had_begun:
        message = f"{message} before it began: {last_message(_job_log(plan, end))}"
    ended = begun.ended(status, cause or Cause.WORKER_LOST, message)
    return ended.model_copy(update={"end": end.end or now()})


def _new_record(plan: Plan, end: JobEnd) -> AggregateRecord:
    if plan.aggregate is None:
        raise ValueError("the plan has no aggregate")
    return AggregateRecord(
        exp_name=plan.exp_name,
        plan_id=plan.plan_id,
        scenes=tuple(scene.name for scene in plan.scenes),
        status="not started",
        start=end.start or end.end or now(),
        host=end.node,
        slurm_job_id=end.job_id,
        log=plan.aggregate.log,
        launch_command=plan.launch_command,
    )


def _missing(plan: Plan) -> str:
    return missing_text(missing_scenes(plan), len(plan.scenes))


def _job_log(plan: Plan, end: JobEnd) -> Path:
    name = plan.aggregate.job_name if plan.aggregate else ""
    return plan.job_logs / f"{name}-{end.job_id}.out"
