"""Run tasks in threads ahead of their use, a bounded number of them, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Result = TypeVar("Result")


def run_ahead(pool: Executor, tasks: Iterable[Callable[[], Result]], most: int) -> Iterator[Result]:
    """Yield the tasks' results in order, with `most` tasks started before they are needed.

    An error is raised where its result would have come. Tasks that wait are given up when the
    caller stops.
    """
    started: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            started.append(pool.submit(task))
            if len(started) > most:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        for future in started:
            future.cancel()
