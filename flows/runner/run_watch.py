"""Stop a flow whose run somebody has deleted or cancelled on the server.

Prefect's process worker passes on a cancel, of the runs that it has started; a deleted run it does
not miss, and of a run that a command line has started nobody watches the state.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime

import httpx
from prefect import get_client

from flows.adapters.prefect_adapter import (
    FlowRun,
    ObjectNotFound,
    SyncPrefectClient,
    has_flow,
    has_log,
)
from training.system.console import say

WATCH_EVERY_S = 5.0
STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"


@contextmanager
def stop_with_run(run: FlowRun) -> Iterator[None]:
    """Have this process stop, once, when the flow run is gone from the server.

    Also when it is being cancelled, where no process worker would pass that on.
    """
    over = threading.Event()
    thread = threading.Thread(
        target=copy_context().run,  # where Prefect finds its server
        args=(_watch, run, datetime.now(UTC), over),
        name="run-watch",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(run: FlowRun, began: datetime, over: threading.Event) -> None:
    while not over.wait(WATCH_EVERY_S):
        reason = _reason_to_stop(run, began)
        if reason and not over.is_set():
            say(f"the flow run {reason}: its scenes are stopped")
            os.kill(os.getpid(), _stop_signal())
            return


def _stop_signal() -> signal.Signals:
    """Return what stops this flow; in a controller's job SIGTERM is Slurm's, and blocked."""
    is_blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return signal.SIGINT if is_blocked else signal.SIGTERM


def _reason_to_stop(run: FlowRun, began: datetime) -> str:
    """Return why the flow should stop; empty while it should not, or the server can't be asked."""
    try:
        with get_client(sync_client=True) as client:
            found = _find(client, run)
            if found is None:
                is_deleted = _has_same_database(client, run, began) and not _find(client, run)
                return "was deleted" if is_deleted else ""
    except (ObjectNotFound, httpx.HTTPError, RuntimeError):  # a server that is away: train on
        return ""
    is_cancelled = found.state is not None and found.state.is_cancelling()
    return "is cancelled" if is_cancelled and STARTED_BY_WORKER not in os.environ else ""


def _has_same_database(client: SyncPrefectClient, run: FlowRun, began: datetime) -> bool:
    """Return whether the server still has the run's flow, or what the run logged before it began.

    The log stays where somebody has deleted the flow with its runs, and is gone with the database.
    """
    return has_flow(client, run.flow_id) or has_log(client, run.id, began)


def _find(client: SyncPrefectClient, run: FlowRun) -> FlowRun | None:
    """Return a run as the server knows it; None where it does not."""
    try:
        return client.read_flow_run(run.id)
    except ObjectNotFound:
        return None
