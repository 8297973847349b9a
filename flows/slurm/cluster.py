"""A Dask cluster whose workers are Slurm jobs, submitted with the user's script.

A job's script and its `sbatch` line are ours (`training.jobs.sbatch_commands`), so every job of a
plan takes its resources and its environment from the one script that a site edits. The rest is
dask-jobqueue's, see `flows.adapters.jobqueue_adapter`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flows.adapters.dask_adapter import scheduler_address
from flows.adapters.jobqueue_adapter import JobCluster, SubmittedJob
from flows.slurm import connection
from training.jobs.kept_scripts import write_lost_files
from training.plan.model import Plan
from training.slurm import client
from training.slurm.client import SlurmError

SUBMIT_ATTEMPTS = 4
"""A minute at most without an answer: a flow that is told to stop waits for its submissions."""


class WorkerJob(SubmittedJob):
    """One Slurm job with one Dask worker; keeps Slurm's refusal instead of raising it."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.job_id: str = ""
        self.refusal: SlurmError | None = None

    def submit(self) -> None:
        """Submit the job; set its id, or the refusal."""
        try:
            self.job_id = client.submit(self.command, SUBMIT_ATTEMPTS)
        except SlurmError as error:
            self.refusal = error


class SlurmWorkerCluster(JobCluster[WorkerJob]):
    """A scheduler here, over TLS with keys of its own, and jobs that are added one by one.

    Writes its address where the plan's jobs look for it (`flows.slurm.connection`).
    """

    def __init__(self, plan: Plan, host: str, log_level: int = logging.CRITICAL) -> None:
        super().__init__(WorkerJob, host, connection.keys_of(plan).security, log_level)
        connection.publish(plan, scheduler_address(self))
        self._plan = plan

    def add_jobs(self, commands: Mapping[str, Sequence[str]]) -> dict[str, WorkerJob]:
        """Submit jobs by worker name, with the files that they read; see `JobCluster.add_jobs`."""
        write_lost_files(self._plan)
        return super().add_jobs(commands)
