"""Which of the user's Slurm jobs belong to an experiment, as read from the jobs' commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from training.jobs.job_entry import IN_JOB
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan, ScenePlan
from training.records.record import RecordError, read_record
from training.records.scene_state import has_ended_since
from training.slurm.parsers import QueuedJob, whole_number

COMMAND = re.compile(rf" {IN_JOB} (?P<stage>\w+) (?P<plan>.+\.json)(?: (?P<argument>.*))?")


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


def _plan_or_none(path: Path) -> Plan | None:
    """Return a job's plan; None where it can't be read (see `Experiment.warnings`)."""
    try:
        return read_plan(path)
    except PlanFileError:
        return None


def jobs_by_scene(jobs: Iterable[StageJob]) -> dict[str, QueuedJob]:
    """Return, by scene, the job that trains it or is going to; of a flow, one of its workers."""
    jobs = list(jobs)
    workers = {each.plan.plan_id: each for each in jobs if each.stage == "worker"}
    training = [each for each in jobs if each.stage == "array"] + list(workers.values())
    return {scene.name: each.job for each in training for scene in _scenes_of(each)}


def _scenes_of(stage_job: StageJob) -> Iterator[ScenePlan]:
    scenes = stage_job.plan.of("run")
    if stage_job.stage == "array" and stage_job.job.array_task_id is not None:
        offset = whole_number(stage_job.argument)
        if offset is not None:  # else it is no job of ours
            yield from scenes[offset + stage_job.job.array_task_id :][:1]
    if stage_job.stage == "worker":
        yield from (scene for scene in scenes if not _has_ended(stage_job.plan, scene))


def _has_ended(plan: Plan, scene: ScenePlan) -> bool:
    """Return whether a scene has ended since its plan was made; False for an unreadable record."""
    try:
        return has_ended_since(read_record(scene.output), plan.created)
    except RecordError:
        return False
