"""Which Dask worker runs a body, and how its end comes back: a result, an error, or a loss."""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent.futures import CancelledError, wait
from typing import Any, Protocol

import distributed
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

POLL_S = 0.2
Call = functools.partial[Any]
"""A plain function with its arguments, all of which can travel."""


class WorkerLostError(Exception):
    """The Dask worker that ran a body, or the way to it, was lost before the body ended."""


class StoppedError(Exception):
    """The flow stopped before a body ended."""


class Workers(Protocol):
    """Runs bodies on Dask workers, each call on a thread of its own."""

    def run(self, call: Call, stop: threading.Event) -> Any:
        """What the body returns; raises what it raises.

        Raises StoppedError once `stop` is set, WorkerLostError when the worker was lost.
        """
        ...

    def close(self) -> None:
        """Let go of the workers; no body runs any more, or none is waited for."""
        ...


class AnyWorkers:
    """Whichever worker of a cluster is free, by Dask's choice."""

    def __init__(self, client: distributed.Client) -> None:
        self._client = client

    def run(self, call: Call, stop: threading.Event) -> Any:
        """See `Workers.run`."""
        return run_on(None, self._client, call, stop, threading.Event())

    def close(self) -> None:
        """Nothing: the cluster closes them."""


def run_on(
    address: str | None,
    client: distributed.Client,
    call: Call,
    stop: threading.Event,
    lost: threading.Event,
) -> Any:
    """Run a call on the worker at `address`, on any for None; wait for it, `stop` or `lost`."""
    future = client.submit(call.func, *call.args, pure=False, workers=address, **call.keywords)
    try:
        return _result(client, future, stop, lost)
    finally:
        _let_go(future)


def _result(
    client: distributed.Client,
    future: distributed.Future,
    stop: threading.Event,
    lost: threading.Event,
) -> Any:
    coroutine = client.gather(future, asynchronous=True)
    result = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
    while not wait([result], timeout=POLL_S).done:
        if stop.is_set():
            raise StoppedError("the flow stopped while this ran")
        if lost.is_set() and not wait([result], timeout=POLL_S).done:
            raise WorkerLostError("its worker left before the end")
    try:
        return result.result()
    except KilledWorker as error:
        gone = f"worker {error.last_worker.address} died while it ran this"
        raise WorkerLostError(gone) from error
    except (FutureCancelledError, CancelledError, CommClosedError) as error:
        raise WorkerLostError(f"the Dask cluster gave this up: {error}") from error


def _let_go(future: distributed.Future) -> None:
    """Have Dask forget the task: a result still held is computed again when its worker is lost."""
    if future.done():
        future.release()
    else:
        future.cancel()


class JobsError(Exception):
    """No job can be had: what Slurm or the jobs' logs say, and the remedy."""
