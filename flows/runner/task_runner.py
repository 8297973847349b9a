"""A task runner that keeps Prefect in the flow's process and sends only the work to Dask.

Stock `DaskTaskRunner` ships Prefect's engine with every task, so each worker needs the API, and a
dying worker leaves tasks Running for ever. Here a worker gets a plain function of plain data.
"""

from __future__ import annotations

import copy
import functools
import inspect
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from contextvars import copy_context
from typing import Any, Self, cast

import distributed
from prefect.client.schemas.objects import RunInput, TaskRun
from prefect.context import FlowRunContext
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.states import Cancelled, Pending
from prefect.task_engine import run_task_sync
from prefect.tasks import Task
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.engine import emit_task_run_state_change_event
from prefect_dask.task_runners import DaskTaskRunner

from flows.runner.dispatch import AnyWorkers, StoppedError, Workers


class SceneTaskRunner(DaskTaskRunner):
    """Runs at most `max_workers` task runs at once, each on a thread here and a Dask worker there.

    A task run is Running when a thread has it (on a worker, or queued in Dask) and Pending before.
    Its function must be plain (no coroutine, no generator), and function, arguments and result
    must pickle. A worker that is lost is a `WorkerLostError` in the one task run that it had. One
    lost in the moment between a function's end and its result's arrival makes Dask call that
    function once more: it must find that its work is done (`training.execution.run_scene.run_scene` does).

    When the runner closes, what has not ended is Cancelled: wait for the futures inside the flow.
    `workers` says which worker gets which task; given the runner, once its cluster is there. The
    other arguments are those of `DaskTaskRunner`.
    """

    def __init__(
        self,
        max_workers: int = 1,
        workers: Callable[[SceneTaskRunner], Workers] | None = None,
        **dask: Any,
    ) -> None:
        if max_workers < 1:
            raise ValueError(f"max_workers is {max_workers}: at least 1 is needed to run anything")
        super().__init__(**dask)
        self.max_workers = max_workers
        self.make_workers = workers or (lambda runner: AnyWorkers(runner.client))
        self._workers: Workers | None = None
        self._unfinished = 0
        self._counting = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._stop = threading.Event()

    def duplicate(self) -> Self:
        """A runner with the same settings that has not started."""
        twin = cast("Self", super().duplicate())  # type: ignore[no-untyped-call]
        twin.max_workers = self.max_workers
        twin.make_workers = self.make_workers
        return twin

    @property
    def unfinished(self) -> int:
        """How many task runs have been submitted and have not ended."""
        return self._unfinished

    @property
    def cluster(self) -> distributed.deploy.Cluster | None:
        """The Dask cluster; None before the first submit."""
        return self._cluster

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
        try:
            super().__exit__(*exception)
        except Exception:  # what became of the task runs is known: a broken cluster changes nothing
            self.logger.exception("the Dask cluster could not be closed in good order")

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
        self._count(1)
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
        future.add_done_callback(lambda _: self._count(-1))
        return PrefectConcurrentFuture(task_run.id, future)

    def _bound(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """The task with its function's place of work settled; the caller's task stays as it is."""
        if task.isasync or task.isgenerator:
            raise TypeError(f"task {task.name!r} must be a plain function to run on a Dask worker")
        bound = copy.copy(task)
        bound.fn = _on_worker(task.fn, self._open_workers(), self._stop)
        return bound

    def _open_workers(self) -> Workers:
        if self._workers is None:
            _ = self.client  # brings up the cluster
            self._workers = self._exit_stack.enter_context(closing(self.make_workers(self)))
        return self._workers

    def _count(self, more: int) -> None:
        with self._counting:
            self._unfinished += more


def _on_worker(
    body: Callable[..., Any], workers: Workers, stop: threading.Event
) -> Callable[..., Any]:
    """`body` as a function that runs it on a Dask worker and waits for it, or for `stop`."""

    @functools.wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        if stop.is_set():
            return Cancelled(message="the flow stopped before this could start")
        try:
            bound = inspect.signature(body).bind(*args, **kwargs)
            return workers.run(functools.partial(body, *bound.args, **bound.kwargs), stop)
        except StoppedError as error:
            return Cancelled(message=str(error))

    return call


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
