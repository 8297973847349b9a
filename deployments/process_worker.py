"""The process that executes the deployments' runs: `python -m deployments.process_worker`.

Prefect's process worker, told to stop in good order. By itself it leaves runs that say Running when
it is told to stop (SIGTERM), and orphans when it is killed. `serve()`, Prefect's other way, has no
work pool for prefect.yaml and switches every schedule off when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import time
from typing import Any

import psutil
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from deployments import ENGINE, POOL, WORKER_STARTED
from preprocess.roots import CHECKOUT
from training.system.processes import die_with_parent
from training.system.stop_request import StopRequest

MOST_RUNS = 16
END_S = 120.0
POLL_S = 0.2
LAST_WORDS_S = 10
STARTER_DIED = signal.SIGUSR1  # comes once for each thread that the starter had
TOLD_BY: dict[int, signal.Signals] = {1: signal.SIGTERM, 2: signal.SIGKILL}


class EngineConfiguration(ProcessJobConfiguration):
    """How a flow run's process starts: at once and in the checkout, unless a pool says otherwise.

    Without a command Prefect starts two more Python processes for each run.
    """

    def prepare_for_flow_run(self, *args: Any, **kwargs: Any) -> None:
        """Fill in what the deployment and the pool leave open."""
        self.command = self.command or shlex.join([sys.executable, "-m", ENGINE])
        self.working_dir = self.working_dir or CHECKOUT
        super().prepare_for_flow_run(*args, **kwargs)


async def work() -> None:
    """Execute runs until told to stop (SIGINT or SIGTERM); the second time ends them at once."""
    stop, stopping = StopRequest(), asyncio.Event()

    def request() -> None:
        stop.request()
        stopping.set()

    def request_once() -> None:
        stop.request_once()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, request)
    loop.add_signal_handler(STARTER_DIED, request_once)
    worker = ProcessWorker(POOL, limit=MOST_RUNS, create_pool_if_not_found=False)
    worker.job_configuration = EngineConfiguration
    working = asyncio.create_task(worker.start(printer=lambda _: print(WORKER_STARTED, flush=True)))
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        await _end_runs(worker, stop)
        signal.alarm(LAST_WORDS_S)  # a server that was killed too would be waited for
        working.cancel()
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _end_runs(worker: ProcessWorker, stop: StopRequest) -> None:
    """Have every run end as Cancelled, by its own doing, and take no new one meanwhile."""
    worker.limiter.total_tokens = 1  # none is free as long as one run lives
    told: dict[int, int] = {}
    deadline = time.monotonic() + END_S
    while worker.limiter.borrowed_tokens:
        level = 2 if time.monotonic() > deadline else stop.level
        for process in psutil.Process().children():
            if told.get(process.pid, 0) < level:
                told[process.pid] = level
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(TOLD_BY[level])
        await asyncio.sleep(POLL_S)


def main() -> int:
    """Work until told to stop; ends with the process that started it."""
    starter = os.getppid()
    die_with_parent(STARTER_DIED)
    if os.getppid() == starter:
        asyncio.run(work())
    return 0


if __name__ == "__main__":
    sys.exit(main())
