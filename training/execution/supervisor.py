"""Run scenes' plans in a process that outlives neither its launcher nor its trainers.

`python -m training.execution.supervisor PARENT_PID` reads a ScenePlan as JSON, a line of standard input, and
prints an Outcome as JSON; so again, one after the other, until its input ends. It is a process, so
that a launcher, flow or Dask worker killed by -9 still leaves a true record: the kernel signals
this one, which stops the trainer and writes the record.
"""

from __future__ import annotations

import os
import sys

from training.execution.attempt import run_attempt
from training.execution.trainer_process import PARENT_DIED, block_signals, forget_forwarded
from training.plan.model import ScenePlan
from training.records.outcome import Outcome
from training.system.processes import die_with_parent


def main(argv: list[str]) -> int:
    """Supervise one start after the other; exit status 0 whenever each outcome was printed."""
    parent = int(argv[0])
    block_signals()
    die_with_parent(PARENT_DIED)
    import psutil  # noqa: F401  # needed at the end of a start; the first scene may come later

    for line in sys.stdin:
        plan = ScenePlan.model_validate_json(line)
        if os.getppid() != parent:  # it died before the kernel knew that we care
            return 1
        forget_forwarded()
        _report(run_attempt(plan, parent))
    return 0


def _report(outcome: Outcome) -> None:
    try:
        print(outcome.model_dump_json(), flush=True)
    except BrokenPipeError:  # the launcher is gone; the record says it all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
