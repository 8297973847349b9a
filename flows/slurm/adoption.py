"""What a flow takes over from one that has died: its jobs, and the scenes that train in them.

`with_queue` decides it when the plan is made. The dispatcher then follows each such scene by claim
and record, as a task run of its own, so that no scene is started twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from flows.slurm.connection import remove_folder
from flows.slurm.job_guard import jobs_of
from training.jobs.current_plan import hold_queued
from training.jobs.experiment_jobs import StageJob, jobs_by_scene, jobs_with_same_outputs
from training.jobs.flow_claim import (
    flow_has_died,
    flows_before,
    predecessors_of,
    wait_until_silent,
)
from training.plan.model import Plan, ScenePlan
from training.plan.scene_decision import is_current
from training.records.claim import holder_of
from training.records.expected_outputs import has_checkpoint
from training.records.outcome import Outcome, outcome_of
from training.records.record import Cause, RecordError, RunRecord, read_record
from training.slurm import client
from training.slurm.client import SlurmError
from training.slurm.parsers import QueuedJob

Decision = Literal["adopt", "hold", "retrain", "submit"]


def with_queue(plan: Plan, queue: Sequence[QueuedJob]) -> Plan:
    """Return the plan with scenes held that jobs of others have, and orphaned ones adopted.

    Those come first: they train already.
    """
    jobs, queued = jobs_with_same_outputs(queue, plan), {job.job_id for job in queue}
    dead = _dead_flows(plan, jobs, queued)
    plan = hold_queued(plan, jobs_by_scene(each for each in jobs if each.plan.plan_id not in dead))
    orphaned = {
        each.job.job_id: each.plan.scenes_per_gpu
        for each in jobs
        if each.plan.plan_id in dead and not each.job.is_pending
    }
    scenes = [_with_decision(scene, orphaned) for scene in plan.scenes]
    scenes.sort(key=lambda scene: not scene.adopted_job)
    return plan.model_copy(update={"scenes": tuple(scenes), "succeeds": tuple(sorted(dead))})


def decide(
    scene: ScenePlan, holder_job: str | None, record: RunRecord | None, orphaned: Collection[str]
) -> Decision:
    """Return what becomes of a scene that is not done, by its record and who holds its claim.

    `holder_job`: the holder's Slurm job, empty where it has none; None without a living holder.
    `orphaned`: the jobs of flows that have died. An attempt that has only just claimed the scene
    has written no record yet: what it trains is looked at once more when it has ended.
    """
    if holder_job is None:
        return "submit"
    if holder_job not in orphaned:
        return "hold"
    is_running = record is not None and record.status == "running"
    return "retrain" if is_running and record and not is_current(record, scene) else "adopt"


def end_what_is_left(plan: Plan) -> None:
    """End what nobody needs of the flows that the plan's succeeds: keys, jobs that wait."""
    predecessors = predecessors_of(plan)
    for each in predecessors:
        remove_folder(each)
    if not predecessors:
        return
    with contextlib.suppress(SlurmError):  # it would find no flow, and end
        queue = [job for job in client.my_jobs() if job.is_pending]
        client.cancel([job.job_id for each in predecessors for job in jobs_of(each, queue)])


def trains_other_configuration(scene: ScenePlan) -> bool:
    """Return whether the attempt that goes on is not of the configuration that is planned."""
    with contextlib.suppress(RecordError):
        record = read_record(scene.output)
        return record is not None and record.status == "running" and not is_current(record, scene)
    return False


def recorded_outcome(scene: ScenePlan, job_id: str) -> Outcome | None:
    """Return the outcome of the attempt in a job; None where no record says how that ended."""
    with contextlib.suppress(RecordError):
        record = read_record(scene.output)
        if record is None or record.last is None or record.last.slurm_job_id != job_id:
            return None
        if record.status != "running" and record.cause is not Cause.WORKER_LOST:
            return outcome_of(scene.name, record, scene.log, has_checkpoint(scene.output))
    return None


def starts_anew(scene: ScenePlan, outcome: Outcome) -> bool:
    """Return whether a scene is to be started although an adopted attempt of it has ended.

    That had another configuration, or has ended with its flow: no fault that counts.
    """
    with contextlib.suppress(RecordError):
        record = read_record(scene.output)
        if record is not None and not is_current(record, scene):
            return True
    return outcome.cause is Cause.WORKER_LOST


def _dead_flows(plan: Plan, jobs: Sequence[StageJob], queued: Collection[str]) -> set[str]:
    """Return the ids of plans of the same outputs whose flows have died and left something."""
    flows = {each.plan.plan_id: each.plan for each in jobs if each.stage in {"worker", "probe"}}
    flows |= {each.plan_id: each for each in flows_before(plan)}
    for each in flows.values():
        wait_until_silent(each, queued)
    return {plan_id for plan_id, each in flows.items() if flow_has_died(each, queued)}


def _with_decision(scene: ScenePlan, orphaned: Mapping[str, int]) -> ScenePlan:
    """Return the scene as it is adopted; `orphaned`: by job how many scenes may be on its GPU."""
    if scene.action == "skip" or not orphaned:
        return scene
    try:
        holder, record = holder_of(scene.output), read_record(scene.output)
        holder_job = holder.slurm_job_id if holder else None
        decision = decide(scene, holder_job, record, orphaned)
    except RecordError:
        return scene
    if decision not in {"adopt", "retrain"} or not holder_job:
        return scene
    what = "trains on" if decision == "adopt" else "another configuration trains, and is ended,"
    reason = f"{what} in Slurm job {holder_job}, whose flow has died"
    shared = orphaned[holder_job]
    update = {"action": "run", "reason": reason, "adopted_job": holder_job, "scenes_on_gpu": shared}
    return scene.model_copy(update=update)
