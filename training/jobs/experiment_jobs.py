"""What of an experiment is queued or running already: read off the commands of my jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from training.jobs.job_entry import IN_JOB
from training.plan.experiments import read_plan
from training.plan.model import Plan, ScenePlan
from training.records.record import RecordError, read_record
from training.slurm.parsers import QueuedJob

COMMAND = re.compile(rf" {IN_JOB} (?P<stage>\w+) (?P<plan>.+\.json)(?: (?P<more>.*))?")


@dataclass(frozen=True)
class StageJob:
    """A job of ours: what it does, for which plan."""

    job: QueuedJob
    stage: str
    plan: Plan
    more: str
    """What follows the plan in its command."""


def stage_jobs(jobs: Iterable[QueuedJob], like: Plan) -> list[StageJob]:
    """Those of my jobs that belong to the experiment of a plan, in the same result root."""
    return [
        StageJob(job, match["stage"], plan, match["more"] or "")
        for job in jobs
        if (match := COMMAND.search(job.command))
        and Path(match["plan"]).name.startswith(like.exp_name)
        and (plan := read_plan(Path(match["plan"])))
        and plan.exp_name == like.exp_name
        and plan.roots.results_root == like.roots.results_root
    ]


def scenes_queued(jobs: Iterable[StageJob]) -> dict[str, QueuedJob]:
    """By scene the job that trains it or is going to; of a flow, one of its workers."""
    jobs = list(jobs)
    workers = {each.plan.plan_id: each for each in jobs if each.stage == "worker"}
    of_interest = [each for each in jobs if each.stage == "array"] + list(workers.values())
    return {scene.name: each.job for each in of_interest for scene in _scenes_of(each)}


def _scenes_of(stage_job: StageJob) -> Iterator[ScenePlan]:
    scenes = stage_job.plan.of("run")
    if stage_job.stage == "array" and stage_job.job.array_task_id is not None:
        yield scenes[int(stage_job.more) + stage_job.job.array_task_id]
    if stage_job.stage == "worker":
        yield from (scene for scene in scenes if not _has_ended(stage_job.plan, scene))


def _has_ended(plan: Plan, scene: ScenePlan) -> bool:
    """Whether a scene has come to an end since its plan was made."""
    try:
        record = read_record(scene.output)
    except RecordError:
        return False
    if record is None or not record.attempts or record.status == "running":
        return False
    return record.attempts[-1].start >= plan.created
