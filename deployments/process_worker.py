"""The process that executes a pool's runs: `python -m deployments.process_worker --help`.

This is Prefect's process worker with an orderly end. By itself it leaves runs that say Running when
it is told to stop (SIGTERM), and orphans when it is killed. `serve()`, Prefect's other way, has no
work pool for prefect.yaml and switches every schedule off when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from argparse import ArgumentParser
from typing import TYPE_CHECKING

import psutil

from deployments import ENGINE, NO_SPARE, POOL, PROCESS_WORKER_READY
from deployments.check import FLOW_NAMES
from deployments.spare_engine import SpareEngine
from flows.adapters.prefect_process_adapter import (
    environment_of_runs,
    offer_processes,
    process_opener,
    process_worker,
    refuse_new_runs,
    run_worker,
    runs_in_progress,
)
from preprocess.roots import CHECKOUT
from training.system.exit_status import DONE
from training.system.processes import die_with_parent
from training.system.stop_request import StopRequest

if TYPE_CHECKING:
    from flows.adapters.prefect_process_adapter import ProcessWorker

COMMAND = (sys.executable, "-m", ENGINE)
MAX_RUNS = 16
RUNS_END_S = 120.0
POLL_S = 0.2
LAST_REQUESTS_S = 10
PARENT_DIED = signal.SIGUSR1  # comes once for each thread that the parent had
SIGNAL_OF_LEVEL: dict[int, signal.Signals] = {1: signal.SIGTERM, 2: signal.SIGKILL}


async def work(pool: str, *, keep_spare: bool = True) -> None:
    """Execute a pool's runs until SIGINT or SIGTERM; a second signal ends running ones at once."""
    stop, stopping = StopRequest(), asyncio.Event()
    _handle_signals(stop, stopping)
    entrypoints = {name: entrypoint for entrypoint, name in FLOW_NAMES.items()}
    worker = process_worker(pool, MAX_RUNS, COMMAND, CHECKOUT, entrypoints)
    keeping = _keep_spare() if keep_spare else None
    working = asyncio.create_task(
        run_worker(worker, lambda: print(PROCESS_WORKER_READY, flush=True))
    )
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    if keeping:
        keeping.cancel()
    if not working.done():
        await _end_runs(worker, stop)
        signal.alarm(LAST_REQUESTS_S)  # a server that was killed too would be waited for
        working.cancel()
    stopped.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


def _keep_spare() -> asyncio.Task[None]:
    """Keep a spare engine for runs until the returned task is cancelled."""
    spare = SpareEngine(COMMAND, CHECKOUT, environment_of_runs(), process_opener())
    offer_processes(spare.offer)
    return asyncio.create_task(spare.keep())


def _handle_signals(stop: StopRequest, stopping: asyncio.Event) -> None:
    def request() -> None:
        stop.request()
        stopping.set()

    def request_once() -> None:
        stop.request_once()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, request)
    loop.add_signal_handler(PARENT_DIED, request_once)


async def _end_runs(worker: ProcessWorker, stop: StopRequest) -> None:
    """Have every run stop itself and end as Cancelled, and take no new one meanwhile."""
    refuse_new_runs(worker)
    sent: dict[int, int] = {}
    deadline = time.monotonic() + RUNS_END_S
    while runs_in_progress(worker):
        level = 2 if time.monotonic() > deadline else stop.level
        for process in psutil.Process().children():
            if sent.get(process.pid, 0) < level:
                sent[process.pid] = level
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(SIGNAL_OF_LEVEL[level])
        await asyncio.sleep(POLL_S)


def main() -> int:
    """Work until told to stop; ends with the process that started it."""
    parser = ArgumentParser(prog="python -m deployments.process_worker", description=__doc__)
    parser.add_argument("pool", nargs="?", default=POOL, metavar="POOL")
    parser.add_argument(NO_SPARE, action="store_true", help="start each run in a new process")
    arguments = parser.parse_args()
    parent = os.getppid()
    die_with_parent(PARENT_DIED)
    if os.getppid() == parent:
        asyncio.run(work(arguments.pool, keep_spare=not arguments.no_spare_engine))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
