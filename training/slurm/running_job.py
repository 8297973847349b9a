"""Whether a job that has been silent for long still runs: suspended jobs do, without a sign."""

from __future__ import annotations

import time
from datetime import datetime
from functools import lru_cache

from training.slurm import client
from training.slurm.job_states import CLOCKS_DIFFER
from training.slurm.parsers import QueuedJob

ASK_AGAIN_S = 10.0
"""How long one answer of Slurm's stands for all jobs of this user, and one failure to answer."""


def state_of_job(job_id: str, moment: datetime | None = None) -> str:
    """Return the state of a job, in lower case, while its processes may be alive; else empty.

    `moment`: when it ran. Where the job of that id started later, or waits for its start, the run
    of then is over: Slurm has requeued it, or given its id to another job. Raises SlurmError where
    Slurm does not say.
    """
    mine = _mine(int(time.monotonic() / ASK_AGAIN_S))
    if isinstance(mine, client.SlurmError):
        raise mine
    found = [job for job in mine if job.job_id == job_id]
    jobs = found or client.jobs_of_id(job_id)
    return next((job.state.lower() for job in jobs if _may_run(job, moment)), "")


def _may_run(job: QueuedJob, moment: datetime | None) -> bool:
    if job.is_pending:
        return False
    return not (moment and job.start and job.start > moment + CLOCKS_DIFFER)


@lru_cache(maxsize=1)
def _mine(_period: int) -> list[QueuedJob] | client.SlurmError:
    """Return this user's jobs, or why they are not known: a controller that is away takes 20 s."""
    try:
        return client.my_jobs()
    except client.SlurmError as error:
        return error
