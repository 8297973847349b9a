"""Prefect: the processes of its server, its process worker and its flow runs.

Importing this module imports Prefect, which reads its settings from the environment at that moment.
What takes seconds to import (server, worker) is imported by the functions that need it. Each name
here has a test in `tests/contracts/test_prefect_process.py`.
"""

from __future__ import annotations

import os
import runpy
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from anyio.abc import Process
    from prefect.workers.process import ProcessWorker

__all__ = ["Process", "ProcessWorker"]

OpenProcess: TypeAlias = "Callable[..., AbstractAsyncContextManager[Process]]"
"""Starts a process for a command, with the keywords of `anyio.open_process`; ends it at exit."""
Offer: TypeAlias = "Callable[..., Awaitable[AbstractAsyncContextManager[Process] | None]]"
"""The same, or None where it has no such process."""


def import_server() -> None:
    """Import the server, which takes most of its start; no setting that we make matters yet."""
    import prefect.server.api.server  # noqa: F401
    import uvicorn  # noqa: F401


def server_application(*, with_ui: bool) -> Any:
    """Return the server's ASGI application; without UI it runs no services such as schedules."""
    from prefect.server.api.server import create_app

    return create_app(ephemeral=not with_ui, final=True)


def process_worker(
    pool: str,
    most_runs: int,
    command: Sequence[str],
    working_dir: Path,
    entrypoints: Mapping[str, str],
) -> ProcessWorker:
    """Return a process worker whose runs start with `command` in `working_dir`.

    Deployments and pools can still set both. Without a command Prefect starts two more Python
    processes for each run, without a folder it makes one. `entrypoints`, by the flow's name, are
    for deployments without one: "Duplicate" in the UI leaves it out, and their runs would crash.
    """
    from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

    class Configuration(ProcessJobConfiguration):
        def prepare_for_flow_run(self, *args: Any, **kwargs: Any) -> None:  # a hook
            self.command = self.command or shlex.join(command)
            self.working_dir = self.working_dir or working_dir
            super().prepare_for_flow_run(*args, **kwargs)
            prepared: dict[str, Any] = self._related_objects
            deployment, flow = prepared["deployment"], prepared["flow"]
            if deployment and flow and not deployment.entrypoint and flow.name in entrypoints:
                self.env["PREFECT__FLOW_ENTRYPOINT"] = entrypoints[flow.name]

    worker = ProcessWorker(pool, limit=most_runs, create_pool_if_not_found=False)
    worker.job_configuration = Configuration
    return worker


async def run_worker(worker: ProcessWorker, on_started: Callable[[], None]) -> None:
    """Execute runs until cancelled.

    `on_started` is called when Prefect prints that the worker has started; and once more when it
    prints that it has stopped, which it does not when cancelled.
    """
    await worker.start(printer=lambda _: on_started())


def runs_in_progress(worker: ProcessWorker) -> int:
    """Return how many runs a worker executes now."""
    return worker.limiter.borrowed_tokens


def refuse_new_runs(worker: ProcessWorker) -> None:
    """Let a worker take no run as long as it executes one (the limiter takes no zero)."""
    worker.limiter.total_tokens = 1


def offer_processes(offer: Offer) -> None:
    """Have a worker in this process ask `offer` for a run's process before it starts one itself."""
    from prefect.utilities import processutils

    start = processutils.open_process

    @asynccontextmanager
    async def open_process(command: list[str], **options: Any) -> AsyncIterator[Process]:
        async with await offer(command, **options) or start(command, **options) as process:
            yield process

    processutils.open_process = open_process


def process_opener() -> OpenProcess:
    """Return what a worker starts its runs' processes with; call it before `offer_processes`."""
    from prefect.utilities.processutils import open_process

    return open_process


def environment_of_runs() -> dict[str, str]:
    """Return the environment that a worker in this process gives to all of its runs.

    A run's own variables come to it, and those of its deployment.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return {**os.environ, **settings}


def import_for_runs() -> None:
    """Import what Prefect needs to run a flow; it reads its settings at the first call."""
    import prefect.deployments.steps.pull
    import prefect.flow_engine  # noqa: F401


def run_engine() -> None:
    """Run the flow run that PREFECT__FLOW_RUN_ID names, as Prefect's `python -m` does.

    Ends the process with the status that the worker expects.
    """
    del sys.argv[1:]  # where it looks for the run first
    sys.modules.pop("prefect.engine", None)  # as some part of Prefect it may have been imported
    # `__main__` stays our module: processes that Dask spawns import it again, and with it Prefect.
    runpy.run_module("prefect.engine", run_name="__main__")
