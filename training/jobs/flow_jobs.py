"""The Slurm jobs of a flow as text, as its dry run shows them: a probe, workers, the merge."""

from __future__ import annotations

import shlex

from preprocess.faults import counted
from training.jobs.sbatch_commands import (
    aggregate_worker_job,
    controller_job,
    most_jobs,
    probe_job,
    slurm_of,
    worker_job,
    worker_time_s,
)
from training.plan.model import Plan
from training.slurm.times import slurm_time


def jobs_text(plan: Plan) -> str:
    """Return the command lines of a plan's jobs, each kind under what it is for and how long."""
    jobs = _scene_jobs(plan) if plan.of("run") else []
    if plan.aggregate and plan.aggregate.command:
        time = slurm_time(plan.aggregate.time_limit_s)
        jobs += [
            f"# then the aggregate, which merges what the scenes wrote, up to {time}",
            shlex.join(aggregate_worker_job(plan, "a1")),
        ]
    return "\n".join(jobs or ["# no jobs: nothing to do"])


def controller_text(plan: Plan, time_s: int) -> str:
    """Return the command line of the job that runs the flow itself, under what it is for."""
    what = f"# the flow itself, {slurm_time(time_s)}, then queued again and goes on"
    return f"{what}\n{shlex.join(controller_job(plan, time_s))}"


def _scene_jobs(plan: Plan) -> list[str]:
    slurm, scenes = slurm_of(plan), len(plan.of("run"))
    per_job = min(slurm.scenes_per_job, scenes)
    jobs = min(most_jobs(plan), -(-scenes // per_job))
    each = f"for up to {counted(per_job, 'scene')} {_how(plan)}" if per_job > 1 else ""
    what = ", ".join(filter(None, [f"at most {counted(jobs, 'job')} at once", each]))
    return [
        *_probe(plan),
        f"# {counted(scenes, 'scene')}: {what}, {slurm_time(worker_time_s(plan))} a job",
        shlex.join(worker_job(plan, "w1")),
    ]


def _how(plan: Plan) -> str:
    """Return how the scenes of a job run: `4 at once`, `one after the other`."""
    shared, per_job = plan.scenes_per_gpu, slurm_of(plan).scenes_per_job
    if shared == 1:
        return "one after the other"
    return f"at once on its GPU, {shared} at most" if per_job > shared else "at once on its GPU"


def _probe(plan: Plan) -> list[str]:
    policy = slurm_of(plan).probe
    if policy == "never":
        return []
    unless = ", unless one has passed within a day" if policy == "auto" else ""
    return [f"# first a probe of a node, seconds{unless}", shlex.join(probe_job(plan))]
