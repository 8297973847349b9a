"""Bring a new plan up to date with Slurm: jobs that ended unseen, and jobs that have its scenes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from training.jobs.experiment_jobs import is_controller
from training.jobs.reconcile import reconcile_all
from training.plan.model import Plan, ScenePlan
from training.plan.scene_decision import decide
from training.slurm.parsers import QueuedJob

CONTROLLED = "with the controller in"
"""In the reason why a scene is held."""


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


def held_by_controller(plan: Plan) -> str:
    """Return the id of the controller's job that has a scene of a plan; empty if none has."""
    reasons = (scene.reason for scene in plan.of("held") if f" {CONTROLLED} " in scene.reason)
    return next((reason.rpartition(" ")[2] for reason in reasons), "")


def _hold_queued(scene: ScenePlan, jobs: Mapping[str, QueuedJob]) -> ScenePlan:
    job = jobs.get(scene.name)
    if scene.action == "skip" or job is None:
        return scene
    # The array's id: with its tasks' own ids a thousand scenes would be a thousand lines.
    what = CONTROLLED if is_controller(job) else "in"
    reason = f"{job.state.lower()} {what} Slurm job {job.array_job_id}"
    return scene.model_copy(update={"action": "held", "reason": reason})
