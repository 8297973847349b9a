"""Run scenes, one after the other, in a process that survives the kill -9 of its launcher.

`python -m training.execution.supervisor LAUNCHER_PID` reads one ScenePlan as JSON from each line of
standard input and answers each with one line, an Outcome as JSON, until its input ends. When a
launcher, flow or Dask worker is killed, the kernel signals this process, which stops the trainer
and writes a true record.
"""

from __future__ import annotations

import os
import sys

from training.execution.attempt import run_attempt
from training.execution.trainer_process import (
    PARENT_DIED,
    block_signals,
    discard_forwarded_signals,
)
from training.execution.warm_start.warm_trainer import WarmStarts
from training.plan.model import ScenePlan
from training.records.outcome import Outcome
from training.system.exit_status import DONE, FAILED
from training.system.processes import die_with_parent


def main(argv: list[str]) -> int:
    """Run one attempt for each line of input; exit status 0 if the launcher lived to the end."""
    launcher = int(argv[0])
    block_signals()
    die_with_parent(PARENT_DIED)
    import psutil  # noqa: F401  # used when an attempt ends; imported while we wait for the first

    warm = WarmStarts()
    for line in sys.stdin:
        plan = ScenePlan.model_validate_json(line)
        if os.getppid() != launcher:  # it died before we asked the kernel to tell us
            return FAILED
        discard_forwarded_signals()
        outcome = run_attempt(plan, launcher, warm)
        _report(outcome.model_copy(update={"notice": warm.take_notice()}))
    warm.close()
    return DONE


def _report(outcome: Outcome) -> None:
    try:
        print(outcome.model_dump_json(), flush=True)
    except BrokenPipeError:  # the launcher is gone; the record has everything
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
