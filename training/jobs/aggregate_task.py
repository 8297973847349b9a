"""The aggregate's job: `python -m training.jobs.aggregate_task PLAN`.

A dependency proves nothing (Slurm takes a job that it has forgotten for one that went well): the
records decide whether all scenes are done.
"""

from __future__ import annotations

import sys
from pathlib import Path

from training.execution.merge import merge, missing_scenes
from training.execution.trainer_process import PARENT_DIED, block_signals
from training.plan.model import Plan
from training.report.summary import summarise
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.processes import die_with_parent


def main(argv: list[str]) -> int:
    """Merge and summarise; exit status 0 only if every scene was done and both went well."""
    block_signals()
    die_with_parent(PARENT_DIED)
    plan = Plan.model_validate_json(Path(argv[0]).read_bytes())
    fault = aggregate(plan)
    say(f"aggregate of {plan.exp_name}: {fault or 'done'}", sys.stderr if fault else sys.stdout)
    return FAILED if fault else DONE


def aggregate(plan: Plan) -> str:
    """What kept the experiment from being aggregated, or nothing."""
    if plan.cancelled.exists():
        return "not started, the experiment was cancelled"
    if missing := missing_scenes(plan):
        return f"not started, {len(missing)} scenes are not done: {', '.join(missing)}"
    if fault := merge(plan):
        return fault
    try:
        summarise(*plan.experiment)
    except OSError as error:
        return f"the summary can't be written: {error}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
