"""A task runner that keeps Prefect in the flow's process and sends only the work to Dask.

Stock `DaskTaskRunner` ships Prefect's engine with every task, so each worker needs the API, and a
dying worker leaves tasks Running for ever. Here a worker gets a plain function of plain data.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any, Self, cast

import distributed
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker
from prefect.client.schemas.objects import RunInput, TaskRun
from prefect.context import FlowRunContext
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.states import Cancelled, Pending
from prefect.task_engine import run_task_sync
from prefect.tasks import Task
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.engine import emit_task_run_state_change_event
from prefect_dask.task_runners import DaskTaskRunner

POLL_S = 0.2


class WorkerLostError(Exception):
    """The Dask worker that ran a task, or the way to it, was lost before the task ended."""


class SceneTaskRunner(DaskTaskRunner):
    """Runs at most `max_workers` task runs at once, each on a thread here and a Dask worker there.

    A task run is Running when a thread has it (on a worker, or queued in Dask) and Pending before.
    Its function must be plain (no coroutine, no generator), and function, arguments and result
    must pickle. A worker that is lost is a `WorkerLostError` in the one task run that it had. One
    lost in the moment between a function's end and its result's arrival makes Dask call that
    function once more: it must find that its work is done (`training.execute.run_scene` does).

    When the runner closes, what has not ended is Cancelled: wait for the futures inside the flow.
    The other arguments are those of `DaskTaskRunner`.
    """

    def __init__(self, max_workers: int = 1, **dask: Any) -> None:
        if max_workers < 1:
            raise ValueError(f"max_workers is {max_workers}: at least 1 is needed to run anything")
        super().__init__(**dask)
        self.max_workers = max_workers
        self._threads: ThreadPoolExecutor | None = None
        self._stop = threading.Event()

    def duplicate(self) -> Self:
        """A runner with the same settings that has not started."""
        twin = cast("Self", super().duplicate())  # type: ignore[no-untyped-call]
        twin.max_workers = self.max_workers
        return twin

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SceneTaskRunner)
            and super().__eq__(other)
            and self.max_workers == other.max_workers
        )

    __hash__ = DaskTaskRunner.__hash__

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        self._stop.clear()
        self._threads = ThreadPoolExecutor(self.max_workers, "task-run")
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel_all()
        super().__exit__(*exception)

    def cancel_all(self) -> None:
        """Give up what runs and what waits; returns when no task run is left (Prefect's hook)."""
        self._stop.set()
        if self._threads is not None:
            self._threads.shutdown()  # what waits passes through Prefect as Cancelled, not as lost

    def submit(  # type: ignore[override]
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Queue one task run; raises TypeError for a coroutine or generator function."""
        if not self._started or self._threads is None:
            raise RuntimeError("The task runner must be started before submitting work.")
        bound = self._bound(task)
        task_run = _pending_run(task, parameters, wait_for, dependencies)
        future = self._threads.submit(
            copy_context().run,
            run_task_sync,
            task=bound,
            task_run=task_run,
            parameters=parameters,
            wait_for=wait_for,
            return_type="state",
        )
        return PrefectConcurrentFuture(task_run.id, future)

    def _bound(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """The task with its function's place of work settled; the caller's task stays as it is."""
        if task.isasync or task.isgenerator:
            raise TypeError(f"task {task.name!r} must be a plain function to run on a Dask worker")
        bound = copy.copy(task)
        bound.fn = _on_worker(task.fn, self.client, self._stop)
        return bound


def _on_worker(
    body: Callable[..., Any], client: distributed.Client, stop: threading.Event
) -> Callable[..., Any]:
    """`body` as a function that runs it on a Dask worker and waits for it, or for `stop`."""

    @functools.wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        if stop.is_set():
            return Cancelled(message="the flow stopped before this could start")
        future = client.submit(body, *args, pure=False, **kwargs)
        try:
            return _result(client, future, stop)
        finally:
            _let_go(future)

    return call


def _result(client: distributed.Client, future: distributed.Future, stop: threading.Event) -> Any:
    """The body's result or its exception; Cancelled when `stop` comes first, so that nothing hangs.

    Raises WorkerLostError when the worker was lost.
    """
    coroutine = client.gather(future, asynchronous=True)
    result = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
    while not wait([result], timeout=POLL_S).done:
        if stop.is_set():
            return Cancelled(message="the flow stopped while this ran")
    try:
        return result.result()
    except KilledWorker as error:
        lost = f"worker {error.last_worker.address} died while it ran this"
        raise WorkerLostError(lost) from error
    except (FutureCancelledError, CancelledError, CommClosedError) as error:
        raise WorkerLostError(f"the Dask cluster gave this up: {error}") from error


def _let_go(future: distributed.Future) -> None:
    """Have Dask forget the task: a result still held is computed again when its worker is lost."""
    if future.done():
        future.release()
    else:
        future.cancel()


def _pending_run(
    task: Task[Any, Any],
    parameters: dict[str, Any],
    wait_for: Iterable[PrefectFuture[Any]] | None,
    dependencies: dict[str, set[RunInput]] | None,
) -> TaskRun:
    """A task run that the server knows as Pending from now on, not only once a thread is free."""
    task_run: TaskRun = run_coro_as_sync(
        task.create_local_run(
            client=nullcontext(),  # type: ignore[arg-type]  # opening one costs 50 ms; not asked
            parameters=parameters,
            flow_run_context=FlowRunContext.get(),
            wait_for=wait_for,
            extra_task_inputs=dependencies,
        )
    )
    emit_task_run_state_change_event(task_run, None, task_run.state or Pending())
    return task_run
