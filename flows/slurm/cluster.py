"""A Dask cluster whose workers are Slurm jobs: dask-jobqueue's, submitted with the user's script.

dask-jobqueue brings the scheduler, TLS, and the keeping of jobs as workers. A job's script and its
`sbatch` line are ours (`training.jobs.sbatch_commands`), so that every job of a plan takes its resources and
its environment from the one script that a site edits.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask
from distributed.deploy.spec import ProcessInterface
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import Scheduler

from flows.runner.local_cluster import SCHEDULING
from flows.slurm import connection
from training.plan.model import Plan
from training.slurm import client
from training.slurm.client import SlurmError

_handler = signal.getsignal(signal.SIGINT)
from dask_jobqueue.slurm import SLURMCluster, SLURMJob  # noqa: E402

signal.signal(signal.SIGINT, _handler)  # importing dask_jobqueue takes Ctrl-C for itself

SUBMIT_ATTEMPTS = 4
"""A minute at most without an answer: a flow that is told to stop waits for its submissions."""


class WorkerJob(SLURMJob):  # type: ignore[misc]  # Dask has no types
    """One Slurm job with one Dask worker; a refusal by Slurm is kept, not raised."""

    def __init__(self, *args: Any, command: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.command = tuple(command)
        self.job_id = ""
        self.refusal: SlurmError | None = None

    async def start(self) -> None:
        """Submit the job (Dask's hook)."""
        try:
            self.job_id = await asyncio.to_thread(client.submit, self.command, SUBMIT_ATTEMPTS)
        except SlurmError as error:
            self.refusal = error
        await ProcessInterface.start(self)

    async def close(self) -> None:
        """Nothing (Dask's hook): whoever drops jobs cancels all of them in one call."""
        await ProcessInterface.close(self)


class QuietScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler without the web server, which would listen in clear beside it."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Nothing (Dask's hook)."""


class SlurmWorkerCluster(SLURMCluster):  # type: ignore[misc]
    """A scheduler here, over TLS with keys of its own, and jobs that are added one by one."""

    job_cls = WorkerJob

    def __init__(self, plan: Plan, host: str, log_level: int = logging.CRITICAL) -> None:
        with dask.config.set(SCHEDULING):
            super().__init__(
                cores=1,  # of the Dask worker; what a job gets is the script's to say
                memory="1 GiB",
                processes=1,
                nanny=False,
                security=connection.keys_of(plan).security,
                scheduler_cls=QuietScheduler,
                scheduler_options={"host": host, "dashboard": False},
                silence_logs=log_level,
            )
        connection.write(plan, self.scheduler_address)

    def watch_workers(
        self,
        came: Callable[[str, str, dict[str, Any]], bool],
        went: Callable[[str], None],
    ) -> None:
        """Have `came(name, address, extra)` and `went(name)` called as workers come and go.

        A worker of which `came` says False is closed.
        """
        self.sync(self._add_plugin, _Watcher(came, went))

    async def _add_plugin(self, plugin: SchedulerPlugin) -> None:
        self.scheduler.add_plugin(plugin)

    def add_jobs(self, commands: Mapping[str, Sequence[str]]) -> dict[str, WorkerJob]:
        """Submit jobs, by worker name; returns when Slurm has taken or refused each."""
        for name, command in commands.items():
            options = {**self.new_spec["options"], "command": command, "name": name}
            self.worker_spec[name] = {"cls": WorkerJob, "options": options}
        self.sync(self._correct_state)
        return {name: self.workers[name] for name in commands}

    def drop(self, names: Sequence[str]) -> None:
        """Forget jobs, and have their workers, if they are there, close."""
        for name in names:
            self.worker_spec.pop(name, None)
        self.sync(self._close_workers, names)

    async def _close_workers(self, names: Sequence[str]) -> None:
        for name in names:
            self.workers.pop(name, None)
            if worker := self.scheduler.aliases.get(name):
                self.scheduler.close_worker(worker)


class _Watcher(SchedulerPlugin):  # type: ignore[misc]
    """Tells of workers by the names that their jobs have."""

    name = "job-watcher"

    def __init__(
        self, came: Callable[[str, str, dict[str, Any]], bool], went: Callable[[str], None]
    ) -> None:
        self._came, self._went = came, went
        self._names: dict[str, str] = {}

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        state = scheduler.workers[worker]
        if self._came(str(state.name), worker, dict(state.extra)):
            self._names[worker] = str(state.name)
        else:
            scheduler.close_worker(worker)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:  # noqa: ARG002
        if name := self._names.pop(worker, ""):
            self._went(name)
