"""Run a task on a Dask worker and wait for how it ends: a result, an error, or a lost worker."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import wait
from typing import Any, Protocol

from flows.adapters.dask_adapter import (
    LOSSES,
    Client,
    Future,
    loss_message,
    release,
    result_future,
    submit,
)
from training.records.record import Cause

POLL_S = 0.2
Call = functools.partial[Any]
"""A plain function with its arguments, all of which can be pickled."""


class WorkerLostError(Exception):
    """The Dask worker that ran a task, or the connection to it, was lost before the task ended."""

    def __init__(self, message: str, cause: Cause = Cause.WORKER_LOST) -> None:
        self.cause = cause
        """Why, as far as Slurm knows."""
        super().__init__(message)


class StoppedError(Exception):
    """The flow stopped before a task ended."""


class JobsError(Exception):
    """No Slurm job can be had: what Slurm or the jobs' logs say, and the remedy."""


class Dispatcher(Protocol):
    """Runs tasks on Dask workers; called from one thread for each task."""

    def run(self, call: Call, stop: threading.Event) -> Any:
        """Run a call on a worker; return its result or raise its exception.

        Raises StoppedError once `stop` is set, WorkerLostError when the worker was lost.
        """
        ...

    def close(self) -> None:
        """Release the workers; called when no task runs any more, or none is waited for."""
        ...


class AnyWorkerDispatcher:
    """Runs each task on whichever worker of a cluster is free, by Dask's choice."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(self, call: Call, stop: threading.Event) -> Any:
        """See `Dispatcher.run`."""
        return run_on(None, self._client, call, stop, threading.Event())

    def close(self) -> None:
        """Do nothing: the cluster closes its workers."""


def run_on(
    address: str | None, client: Client, call: Call, stop: threading.Event, lost: threading.Event
) -> Any:
    """Run a call on the worker at `address`, or on any (None); return its result.

    Raises what the call raises, StoppedError once `stop` is set, and WorkerLostError when the
    worker is lost: Dask says so, or `lost` is set.
    """
    future = submit(client, call.func, call.args, call.keywords, address)
    try:
        return _wait_for_result(client, future, stop, lost)
    finally:
        release(future)


def _wait_for_result(
    client: Client, future: Future[Any], stop: threading.Event, lost: threading.Event
) -> Any:
    result = result_future(client, future)
    while not wait([result], timeout=POLL_S).done:
        if stop.is_set():
            raise StoppedError("the flow stopped while this ran")
        # A result that is on its way already may arrive after the news of the loss.
        if lost.is_set() and not wait([result], timeout=POLL_S).done:
            raise WorkerLostError("its worker left before the end")
    try:
        return result.result()
    except LOSSES as error:
        raise WorkerLostError(loss_message(error)) from error
