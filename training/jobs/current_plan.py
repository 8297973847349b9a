"""Bring a new plan up to date with Slurm: jobs that ended unseen, and jobs that have its scenes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from training.jobs.reconcile import reconcile_all
from training.plan.model import Plan, ScenePlan
from training.plan.scene_decision import decide
from training.slurm.parsers import QueuedJob


def reconcile_plan(plan: Plan, queue: Collection[QueuedJob]) -> Plan:
    """Reconcile the records of a plan's scenes with Slurm; return the plan decided by them.

    Raises FaultsError for a record or claim that can't be read.
    """
    open_scenes = [scene for scene in plan.scenes if scene.action != "skip"]
    queued = {job.job_id for job in queue}
    if not reconcile_all((scene.output for scene in open_scenes), queued):
        return plan
    return plan.model_copy(update={"scenes": tuple(map(_decide_again, plan.scenes))})


def _decide_again(scene: ScenePlan) -> ScenePlan:
    action, reason = decide(scene)
    return scene.model_copy(update={"action": action, "reason": reason})


def hold_queued(plan: Plan, jobs: Mapping[str, QueuedJob]) -> Plan:
    """Return the plan with those scenes held that, by name, a job of the experiment has already."""
    return plan.model_copy(update={"scenes": tuple(_hold_queued(s, jobs) for s in plan.scenes)})


def _hold_queued(scene: ScenePlan, jobs: Mapping[str, QueuedJob]) -> ScenePlan:
    job = jobs.get(scene.name)
    if scene.action == "skip" or job is None:
        return scene
    # The array's id: with its tasks' own ids a thousand scenes would be a thousand lines.
    reason = f"{job.state.lower()} in Slurm job {job.array_job_id}"
    return scene.model_copy(update={"action": "held", "reason": reason})
