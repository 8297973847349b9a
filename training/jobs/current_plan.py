"""A plan as things stand in Slurm: what has ended unseen, and what other jobs have already."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from training.jobs.reconcile import reconcile_all
from training.plan.model import Plan, ScenePlan
from training.plan.scene_decision import decide
from training.slurm.parsers import QueuedJob


def reconciled(plan: Plan, queue: Collection[QueuedJob]) -> Plan:
    """The plan after Slurm has said how jobs ended whose scenes nobody has looked at since."""
    open_scenes = [scene for scene in plan.scenes if scene.action != "skip"]
    queued = {job.job_id for job in queue}
    if not reconcile_all((scene.output for scene in open_scenes), queued):
        return plan
    return plan.model_copy(update={"scenes": tuple(map(_decided_again, plan.scenes))})


def _decided_again(scene: ScenePlan) -> ScenePlan:
    action, reason = decide(scene)
    return scene.model_copy(update={"action": action, "reason": reason})


def with_held(plan: Plan, holders: Mapping[str, QueuedJob]) -> Plan:
    """The plan without the scenes, by name, that a job of the experiment has already."""
    return plan.model_copy(update={"scenes": tuple(_held(s, holders) for s in plan.scenes)})


def _held(scene: ScenePlan, holders: Mapping[str, QueuedJob]) -> ScenePlan:
    job = holders.get(scene.name)
    if scene.action == "skip" or job is None:
        return scene
    # The array's id: with its tasks' own ids a thousand scenes would be a thousand lines.
    reason = f"{job.state.lower()} in Slurm job {job.array_job_id}"
    return scene.model_copy(update={"action": "held", "reason": reason})
