"""Which of the user's Slurm jobs belong to an experiment, as read from the jobs' commands."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.jobs.job_entry import IN_JOB
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan, ScenePlan
from training.records.controller_record import read_controller
from training.records.record import RecordError, read_record
from training.records.scene_state import has_ended_since
from training.slurm.parsers import QueuedJob, whole_number

COMMAND = re.compile(rf" {IN_JOB} (?P<stage>\w+) (?P<plan>.+\.json)(?: (?P<argument>.*))?")

FLOW_STAGES = frozenset({"worker", "controller"})
"""Stages of jobs that train whatever scenes of their plan are left."""


@dataclass(frozen=True)
class StageJob:
    """A queued job of this project: which stage it runs, of which plan."""

    job: QueuedJob
    stage: str
    """A key of `training.jobs.job_entry.MODULES`."""
    plan: Plan
    argument: str
    """What follows the plan in its command: of an array the offset, of a worker its name."""


def jobs_of_experiment(jobs: Iterable[QueuedJob], like: Plan) -> list[StageJob]:
    """Return the jobs that belong to the experiment of a plan, in the same results root."""
    return [
        StageJob(job, match["stage"], plan, match["argument"] or "")
        for job in jobs
        if (match := COMMAND.search(job.command))
        and Path(match["plan"]).name.startswith(like.exp_name)
        and (plan := _plan_or_none(Path(match["plan"])))
        and plan.exp_name == like.exp_name
        and plan.roots.results_root == like.roots.results_root
    ]


def jobs_with_same_outputs(jobs: Iterable[QueuedJob], like: Plan) -> list[StageJob]:
    """Return the jobs that would keep a plan's scenes from being submitted.

    Those of its experiment; of a loop's stage those that write what it writes, since it waits for
    the jobs of other stages.
    """
    found = jobs_of_experiment(jobs, like)
    if like.stage is None:
        return found
    return [each for each in found if each.plan.output_subdir == like.output_subdir]


def is_controller(job: QueuedJob) -> bool:
    """Return whether a job runs a flow."""
    match = COMMAND.search(job.command)
    return match is not None and match["stage"] == "controller"


def is_superseded(job: QueuedJob) -> bool:
    """Return whether a job ran a flow that has been started again, in another job, since then."""
    match = COMMAND.search(job.command)
    if match is None or match["stage"] != "controller":
        return False
    with contextlib.suppress(RecordError):
        if record := read_controller(Path(match["plan"])):
            ids = [each.job_id for each in record.starts]
            return job.job_id in ids and job.job_id != ids[-1]
    return False


def controller_of(jobs: Iterable[QueuedJob], plans: Sequence[Plan]) -> StageJob | None:
    """Return the job of the controller that runs one of these plans, or the loop they are of."""
    ids, first = {plan.plan_id for plan in plans}, plans[0]
    loop = first.stage.loop if first.stage else ""
    for job in jobs:
        match = COMMAND.search(job.command)
        if match is None or match["stage"] != "controller":
            continue
        plan = _plan_or_none(Path(match["plan"]))
        if plan is None or plan.roots.results_root != first.roots.results_root:
            continue
        is_of_loop = bool(loop) and plan.stage is not None and plan.stage.loop == loop
        if is_of_loop or ids & plans_of_controller(plan):
            return StageJob(job, "controller", plan, "")
    return None


def plans_of_controller(plan: Plan) -> frozenset[str]:
    """Return the ids of the plans that a controller runs, given the first that was submitted."""
    with contextlib.suppress(RecordError):
        if record := read_controller(plan.file):
            return record.all_plans
    return frozenset({plan.plan_id})


def _plan_or_none(path: Path) -> Plan | None:
    """Return a job's plan; None where it can't be read (see `Experiment.warnings`)."""
    try:
        return read_plan(path)
    except PlanFileError:
        return None


def jobs_by_scene(jobs: Iterable[StageJob]) -> dict[str, QueuedJob]:
    """Return, by scene, the job that trains it or is going to.

    Of a flow that is one of its workers, or the controller's where the flow runs in a job.
    """
    jobs = list(jobs)
    controllers = {each.plan.plan_id: each for each in jobs if each.stage == "controller"}
    workers = {each.plan.plan_id: each for each in jobs if each.stage == "worker"} | controllers
    training = [each for each in jobs if each.stage == "array"] + list(workers.values())
    return {scene.name: each.job for each in training for scene in _scenes_of(each)}


def _scenes_of(stage_job: StageJob) -> Iterator[ScenePlan]:
    scenes = stage_job.plan.of("run")
    if stage_job.stage == "array" and stage_job.job.array_task_id is not None:
        offset = whole_number(stage_job.argument)
        if offset is not None:  # else it is no job of ours
            yield from scenes[offset + stage_job.job.array_task_id :][:1]
    if stage_job.stage in FLOW_STAGES:
        yield from (scene for scene in scenes if not _has_ended(stage_job.plan, scene))


def _has_ended(plan: Plan, scene: ScenePlan) -> bool:
    """Return whether a scene has ended since its plan was made; False for an unreadable record."""
    try:
        return has_ended_since(read_record(scene.output), plan.created)
    except RecordError:
        return False
