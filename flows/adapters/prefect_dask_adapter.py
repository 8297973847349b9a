"""prefect-dask: the part of `DaskTaskRunner` that makes, connects and closes a Dask cluster.

Each name here has a test in `tests/contracts/test_prefect_dask.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar, cast

from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.tasks import Task
from prefect_dask.task_runners import DaskTaskRunner

from flows.adapters.prefect_adapter import RunInput

Resource = TypeVar("Resource")


class ClusterTaskRunner(DaskTaskRunner):
    """A task runner with the arguments of `DaskTaskRunner`; `submit` is the subclass' own.

    Gives names and types to private attributes of the base class, and the types of our futures to
    its methods, which are annotated with Dask's.
    """

    def duplicate(self) -> Self:
        """Return a runner with the same settings that has not started."""
        return cast("Self", super().duplicate())

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    @property
    def has_started(self) -> bool:
        """Whether the runner is open for submissions."""
        return bool(self._started)

    def close_with_cluster(self, resource: AbstractContextManager[Resource]) -> Resource:
        """Enter a context that is left right before client and cluster are closed."""
        return self._exit_stack.enter_context(resource)

    def submit(  # type: ignore[override]  # annotated with PrefectDaskFuture
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Queue one task run."""
        raise NotImplementedError

    def map(  # type: ignore[override]
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
    ) -> list[PrefectConcurrentFuture[Any]]:
        """Queue one task run for each item of the parameters that are lists."""
        futures: Any = super().map(task, parameters, wait_for)
        return cast("list[PrefectConcurrentFuture[Any]]", futures)  # a subclass of list
