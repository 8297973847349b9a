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
from contextlib import closing
from contextvars import copy_context
from typing import Any, Self

from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.states import Cancelled
from prefect.tasks import Task

from flows.adapters.prefect_adapter import (
    RunInput,
    as_prefect_future,
    create_pending_task_run,
    run_task,
)
from flows.adapters.prefect_dask_adapter import ClusterTaskRunner
from flows.runner.dispatch import AnyWorkerDispatcher, Dispatcher, StoppedError
from training.system.waiting import awaited


class SceneTaskRunner(ClusterTaskRunner):
    """Runs at most `max_workers` task runs at once, each on a thread here and a Dask worker there.

    A task run is Running when a thread has it (on a worker, or queued in Dask) and Pending before.
    Its function must be plain (no coroutine, no generator), and function, arguments and result
    must pickle. A lost worker is a `WorkerLostError` in the one task run that it had. If it is lost
    between a function's end and its result's arrival, Dask calls that function once more, which
    must then find that its work is done (as `training.execution.run_scene.run_scene` does).

    When the runner closes, what has not ended is Cancelled: wait for the futures inside the flow.
    `make_dispatcher`, called with the runner once its cluster exists, decides which worker runs
    which task. The other arguments are those of `DaskTaskRunner`.
    """

    def __init__(
        self,
        max_workers: int = 1,
        make_dispatcher: Callable[[SceneTaskRunner], Dispatcher] | None = None,
        **dask: Any,
    ) -> None:
        if max_workers < 1:
            raise ValueError(f"max_workers is {max_workers}: at least 1 is needed to run anything")
        super().__init__(**dask)
        self.max_workers = max_workers
        self.make_dispatcher = make_dispatcher or (
            lambda runner: AnyWorkerDispatcher(runner.client)
        )
        self._dispatcher: Dispatcher | None = None
        self.submitted = self.ended = 0
        """How many task runs there are, and how many of them have ended."""
        self._counting = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._stop = threading.Event()

    def duplicate(self) -> Self:
        """Return a runner with the same settings that has not started; called for each flow run."""
        twin = super().duplicate()
        twin.max_workers = self.max_workers
        twin.make_dispatcher = self.make_dispatcher
        return twin

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SceneTaskRunner)
            and super().__eq__(other)
            and self.max_workers == other.max_workers
        )

    __hash__ = ClusterTaskRunner.__hash__

    def __enter__(self) -> Self:
        super().__enter__()
        self._stop.clear()
        self._threads = ThreadPoolExecutor(self.max_workers, "task-run")
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel_all()
        try:
            with awaited("workers end"):
                super().__exit__(*exception)
        except Exception:  # how the task runs ended is known: a broken cluster changes nothing
            self.logger.exception("the Dask cluster could not be closed in good order")

    def cancel_all(self) -> None:
        """Cancel what runs and what waits; return when no task run is left (called by Prefect)."""
        self._stop.set()
        if self._threads is not None:
            self._threads.shutdown()  # what waits passes through Prefect as Cancelled, not as lost

    def submit(  # type: ignore[override]  # see ClusterTaskRunner
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Queue one task run; raises TypeError for a coroutine or generator function."""
        if not self.has_started or self._threads is None:
            raise RuntimeError("The task runner must be started before submitting work.")
        remote_task = self._on_workers(task)
        task_run = create_pending_task_run(task, parameters, wait_for, dependencies)
        self.submitted += 1
        future = self._threads.submit(
            copy_context().run, run_task, remote_task, task_run, parameters, wait_for
        )
        future.add_done_callback(lambda _: self._count_ended())
        return as_prefect_future(task_run, future)

    def _on_workers(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """Return a copy of a task whose function runs on a Dask worker."""
        if task.isasync or task.isgenerator:
            raise TypeError(f"task {task.name!r} must be a plain function to run on a Dask worker")
        remote_task = copy.copy(task)
        remote_task.fn = _on_worker(task.fn, self._open_dispatcher(), self._stop)
        return remote_task

    def _open_dispatcher(self) -> Dispatcher:
        if self._dispatcher is None:
            _ = self.client  # starts the cluster
            self._dispatcher = self.close_with_cluster(closing(self.make_dispatcher(self)))
        return self._dispatcher

    def _count_ended(self) -> None:
        with self._counting:
            self.ended += 1


def _on_worker(
    function: Callable[..., Any], dispatcher: Dispatcher, stop: threading.Event
) -> Callable[..., Any]:
    """Return a function that runs `function` on a Dask worker and waits for it, or for `stop`."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if stop.is_set():
            return Cancelled(message="the flow stopped before this could start")
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
            return dispatcher.run(functools.partial(function, *bound.args, **bound.kwargs), stop)
        except StoppedError as error:
            return Cancelled(message=str(error))

    return call
