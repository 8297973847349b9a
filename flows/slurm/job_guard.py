"""Ends a flow's Slurm jobs when the flow is gone: `python -m flows.slurm.job_guard PLAN`, fed by a pipe.

The kernel closes the pipe however the flow ends, by -9 too. Queued jobs are cancelled at once;
running ones notice by themselves and let their trainers write a checkpoint, so they get that time.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.slurm.connection import remove_folder
from preprocess.roots import CHECKOUT
from training.execution.run_scene import ending_bound_s
from training.plan.model import Plan
from training.slurm import client
from training.slurm.client import QueuedJob, SlurmError

ASK_S = 2.0
NOTICE_S = 30.0
"""What a worker may need to notice that its flow is gone."""
GIVE_UP_S = 600.0


@contextmanager
def guarded(plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process look after a plan's jobs until none is left, whatever becomes of this one."""
    guard = subprocess.Popen(
        [sys.executable, "-m", "flows.slurm.job_guard", str(plan.file)],
        cwd=CHECKOUT,
        env=client.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield guard
    finally:
        if guard.stdin is not None:
            guard.stdin.close()


def main(argv: list[str]) -> int:
    """Wait for the flow's end, then for that of its jobs; exit status 1 when some are left."""
    plan = Plan.model_validate_json(Path(argv[0]).read_bytes())
    sys.stdin.buffer.read()
    remove_folder(plan)  # however the flow ended, its keys end with it
    bound_s = NOTICE_S + max((ending_bound_s(scene) for scene in plan.scenes), default=0.0)
    patience = time.monotonic() + bound_s
    give_up = patience + GIVE_UP_S
    while time.monotonic() < give_up:
        with contextlib.suppress(SlurmError):  # a controller that is away is asked again
            left = jobs_of(plan, client.my_jobs())
            if not left:
                return 0
            overdue = time.monotonic() > patience
            client.cancel([job.job_id for job in left if overdue or job.state == "PENDING"])
        time.sleep(ASK_S)
    return 1


def end_jobs(plan: Plan) -> None:
    """Cancel all jobs of a plan, now; what Slurm does not take now is left to the guard."""
    with contextlib.suppress(SlurmError):
        client.cancel([job.job_id for job in jobs_of(plan, client.my_jobs())])


def jobs_of(plan: Plan, jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
    """The jobs that run for a plan, which their command names."""
    return [job for job in jobs if str(plan.file) in job.command and job.state != "COMPLETING"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
