"""dask-jobqueue: a Dask cluster whose workers are Slurm jobs that are added one by one.

dask-jobqueue brings the scheduler and the bookkeeping of jobs as workers. Its own way to write job
scripts, to submit and to cancel is overridden. Each name here has a test in
`tests/contracts/test_dask_jobqueue.py`.
"""

from __future__ import annotations

import asyncio
import signal
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from distributed.deploy.spec import ProcessInterface

from flows.adapters.dask_adapter import (
    SCHEDULER_CONFIG,
    QuietScheduler,
    Scheduler,
    Security,
    WorkerCame,
    WorkerEvents,
    WorkerLeft,
    close_worker,
    configured,
)

_handler = signal.getsignal(signal.SIGINT)
from dask_jobqueue.slurm import SLURMCluster, SLURMJob  # noqa: E402

signal.signal(signal.SIGINT, _handler)  # importing dask_jobqueue takes Ctrl-C for itself


class SubmittedJob(SLURMJob):
    """One job with one Dask worker, submitted by `submit` and cancelled by its owner.

    Overrides the hooks of ProcessInterface that `sbatch` and `scancel` one job at a time.
    """

    def __init__(self, *args: Any, command: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.command = tuple(command)

    @abstractmethod
    def submit(self) -> None:
        """Submit the job; called on a thread. What it raises would break the whole cluster."""

    async def start(self) -> None:
        """Submit the job and count it as running (a hook)."""
        await asyncio.to_thread(self.submit)
        await ProcessInterface.start(self)

    async def close(self) -> None:
        """Count the job as closed (a hook): its owner cancels many jobs in one call."""
        await ProcessInterface.close(self)


JobT = TypeVar("JobT", bound=SubmittedJob)


class JobCluster(SLURMCluster, Generic[JobT]):
    """A TLS scheduler in this process, and jobs of `job_class` that are added by name.

    `scale` and `adapt` are of no use here: they neither replace a lost job nor spare a busy one.
    """

    def __init__(
        self, job_class: type[JobT], host: str, security: Security, log_level: int
    ) -> None:
        with configured(SCHEDULER_CONFIG):
            super().__init__(
                job_cls=job_class,  # type: ignore[arg-type]  # typed as an instance by mistake
                # Demanded, and of no effect: what a job gets is the business of its own script.
                cores=1,
                memory="1 GiB",
                processes=1,
                nanny=False,
                security=security,
                scheduler_cls=QuietScheduler,
                scheduler_options={"host": host, "dashboard": False},
                silence_logs=log_level,
            )

    def watch_workers(self, came: WorkerCame, left: WorkerLeft) -> None:
        """Call `came` and `left` as workers come and go; see `WorkerCame` and `WorkerLeft`."""
        self.sync(self._add_plugin, WorkerEvents(came, left))

    async def _add_plugin(self, plugin: WorkerEvents) -> None:
        self._running_scheduler().add_plugin(plugin)

    def add_jobs(self, commands: Mapping[str, Sequence[str]]) -> dict[str, JobT]:
        """Submit jobs by worker name; return when `SubmittedJob.submit` has returned for each."""
        for name, command in commands.items():
            options = {**self.new_spec["options"], "command": command, "name": name}
            self.worker_spec[name] = {"cls": self.job_cls, "options": options}
        self.sync(self._correct_state)  # makes the jobs of all new specifications, in parallel
        return {name: self.workers[name] for name in commands}

    def drop(self, names: Sequence[str]) -> None:
        """Forget jobs, and ask those of their workers that have come to close.

        Not through `_correct_state`, which would wait until each worker has left.
        """
        for name in names:
            self.worker_spec.pop(name, None)
        self.sync(self._close_workers, names)

    async def _close_workers(self, names: Sequence[str]) -> None:
        for name in names:
            job = self.workers.pop(name, None)
            if job is not None:
                await job.close()  # else the cluster's own close fails as long as somebody has it
            close_worker(self._running_scheduler(), name)

    def _running_scheduler(self) -> Scheduler:
        if not isinstance(self.scheduler, Scheduler):
            raise TypeError(f"no scheduler of this process: {self.scheduler!r}")
        return self.scheduler
