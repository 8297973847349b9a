"""Ends a flow's Slurm jobs once the flow has ended: `python -m flows.slurm.job_guard PLAN`.

Standard input is a pipe from the flow, which the kernel closes however the flow ends, by kill -9
too; a flow that ends in good order writes into it first. Queued jobs are cancelled at once; running
ones notice the end by themselves and get the time that their trainers need to write a checkpoint.
With --orphan-grace those of a flow that was killed are left to themselves.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    # What it imports is needed at the flow's end, and takes cores that the flow needs to start.
    select.select([sys.stdin], [], [], 10.0)

from flows.slurm.connection import remove_folder
from preprocess.roots import CHECKOUT
from training.execution.attempt import ending_bound_s
from training.jobs.sbatch_commands import slurm_of
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan
from training.slurm import client
from training.slurm.client import SlurmError
from training.slurm.parsers import QueuedJob
from training.system.console import say
from training.system.exit_status import DONE, FAILED

POLL_S = 2.0
NOTICE_S = 30.0
"""How long a worker may need to notice that its flow has ended."""
GIVE_UP_S = 600.0
IN_GOOD_ORDER = b"ended"


@contextmanager
def guarded(plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that outlives this one and ends a plan's jobs after the context's end."""
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
            with contextlib.suppress(BrokenPipeError):
                guard.stdin.write(IN_GOOD_ORDER)
                guard.stdin.close()


def main(argv: list[str]) -> int:
    """Wait for the flow's end, then end its jobs; return exit status 1 when some are left."""
    try:
        plan = read_plan(Path(argv[0]))
    except PlanFileError as error:
        say(f"guard: {error}", sys.stderr)
        return FAILED
    word = sys.stdin.buffer.read()  # returns when the flow has ended
    remove_folder(plan)  # however the flow ended, its keys end with it
    may_go_on = word != IN_GOOD_ORDER and slurm_of(plan).orphan_grace_s > 0
    bound_s = NOTICE_S + max((ending_bound_s(scene) for scene in plan.scenes), default=0.0)
    overdue_at = time.monotonic() + bound_s
    give_up_at = overdue_at + GIVE_UP_S
    while time.monotonic() < give_up_at:
        with contextlib.suppress(SlurmError):  # a controller that does not answer is asked again
            left = jobs_of(plan, client.my_jobs())
            if may_go_on:
                left = [job for job in left if job.is_pending]
            if not left:
                return DONE
            overdue = time.monotonic() > overdue_at
            client.cancel([job.job_id for job in left if overdue or job.is_pending])
        time.sleep(POLL_S)
    return FAILED


def end_jobs(plan: Plan) -> None:
    """Cancel all jobs of a plan now; where Slurm does not answer, the guard does it later."""
    with contextlib.suppress(SlurmError):
        client.cancel([job.job_id for job in jobs_of(plan, client.my_jobs())])


def jobs_of(plan: Plan, jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
    """Return the jobs of a plan, whose command lines name its file, and those it has adopted."""
    adopted = plan.adopted_jobs
    own = (each for each in jobs if str(plan.file) in each.command or each.job_id in adopted)
    return [job for job in own if not job.is_over]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
