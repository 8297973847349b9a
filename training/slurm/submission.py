"""`--submit`: the scenes as array jobs and the aggregate behind them, to submit and leave."""

from __future__ import annotations

import shlex

from training.plan import Plan, render
from training.slurm import jobs


def preview(plan: Plan) -> str:
    """The plan and the sbatch command lines that submit it; needs no Slurm."""
    parts = jobs.array_parts(len(plan.of("run")), jobs.MAX_ARRAY_SIZE)
    lines = [shlex.join(jobs.array_job(plan, part)) for part in parts]
    ids = [jobs.ARRAY_JOB for _ in parts]
    if plan.aggregate is not None:
        lines.append(shlex.join(jobs.aggregate_job(plan, ids)))
    return "\n".join([render(plan), "", *lines])
