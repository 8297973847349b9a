"""What a flow costs per scene: no-op tasks on three runners, on one cluster and one server.

Each runner maps the tasks and collects their results in one more task: prefect-dask's stock
DaskTaskRunner, our flows.runner.task_runner.SceneTaskRunner, and Dask without Prefect. Records,
claims and the start of trainers are not included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.prefect_lab import MODULE, counting_server, create_database
from benchmarks.subject import Aim, Measure, Role, Row, Size, Subject, ratio

TASKS: Mapping[Size, int] = {"quick": 20, "usual": 100, "full": 100}
WORKERS = 2
WALL, CPU, WRITES = "wall a task", "CPU a task", "API writes a task"
STOCK, OURS, BARE = "stock DaskTaskRunner", "our runner", "Dask without Prefect"
ROLES: Mapping[str, Role] = {STOCK: "peer", OURS: "ours", BARE: "floor"}
SENT_WITHIN_S = 30.0


@contextmanager
def opened(size: Size) -> Iterator[Mapping[str, Measure]]:
    """Start server and cluster, warm the runners up, and yield them."""
    with tempfile.TemporaryDirectory() as folder:
        create_database(Path(folder))
        with counting_server(Path(folder)) as written:
            from flows.server.managed import prefect_api

            with prefect_api(Path(folder), verbose=False):
                yield from _runners(TASKS[size], written)


def _runners(tasks: int, written: Callable[[], int]) -> Iterator[Mapping[str, Measure]]:
    import distributed

    from flows.runner.local_cluster import local_cluster
    from training.system.secrets import remove_secrets

    connect: Any = distributed.Client  # without types
    with local_cluster(WORKERS) as cluster, connect(cluster) as client:
        client.wait_for_workers(WORKERS)
        runs = make_runs(client, cluster)
        remove_secrets()
        for run in runs.values():  # imports and first connections are not measured
            run(2 * WORKERS)
        yield {name: partial(measure, name, run, tasks, written) for name, run in runs.items()}


def measure(
    name: str, run: Callable[[int], float], tasks: int, written: Callable[[], int]
) -> list[Row]:
    """Run the tasks once; return what each of them cost, and what was written to the API."""
    from flows.adapters.prefect_adapter import send_buffered

    row = partial(Row, variant=name, role=ROLES[name])
    cpu_s, writes = cpu_seconds(), written()
    wall_s = run(tasks)
    cpu_s = cpu_seconds() - cpu_s
    send_buffered(SENT_WITHIN_S)
    writes = written() - writes
    return [
        row(WALL, samples=(1000 * wall_s / tasks,), unit="ms"),
        row(CPU, samples=(1000 * cpu_s / tasks,), unit="ms"),
        row(WRITES, samples=(writes / tasks,), unit=""),
    ]


def cpu_seconds() -> float:
    """Return CPU seconds so far of this process and its children, except for Prefect's server."""
    import psutil

    here = psutil.Process()
    family = [here, *here.children(recursive=True)]
    times = [each.cpu_times() for each in family if MODULE not in each.cmdline()]
    return sum(time.user + time.system for time in times)


def make_runs(client: Any, cluster: Any) -> dict[str, Callable[[int], float]]:
    """Return for each runner a function that runs that many no-op tasks and returns the seconds."""
    from prefect_dask.task_runners import DaskTaskRunner

    from flows.runner.task_runner import SceneTaskRunner

    connection = {
        "address": cluster.scheduler_address,
        "client_kwargs": {"security": cluster.security},
    }

    def bare(tasks: int) -> float:
        start = time.perf_counter()
        futures = [client.submit(do_nothing, number, pure=False) for number in range(tasks)]
        client.gather(client.submit(count_all, futures, pure=False))
        return time.perf_counter() - start

    return {
        STOCK: timed_flow(DaskTaskRunner(**connection)),
        OURS: timed_flow(SceneTaskRunner(WORKERS, **connection)),
        BARE: bare,
    }


def timed_flow(runner: Any) -> Callable[[int], float]:
    """Return a flow on `runner` that times its tasks: its own start and end are not per task."""
    from prefect import flow, task

    map_task, reduce_task = task(do_nothing), task(count_all)

    @flow(task_runner=runner)
    def overhead(tasks: int) -> float:
        start = time.perf_counter()
        numbers: Any = map_task.map(list(range(tasks)))  # futures, which Prefect resolves
        reduce_task.submit(numbers).result()
        return time.perf_counter() - start

    return overhead


def do_nothing(number: int) -> int:
    """Return the argument: one no-op task."""
    return number


def count_all(numbers: list[int]) -> int:
    """Return how many results there are: the task that collects them."""
    return len(numbers)


WHY_WRITES = (
    "Prefect itself sends a message for each state of a task run (Pending, Running, Completed), "
    "whatever runs it. What is above three is the flow run's own."
)
WHY_TENTH = (
    "Most of our time a task is Prefect's own engine, which any runner pays: it makes the task "
    "run, its states, and its messages to the server. The floor, Dask without Prefect, shows how "
    "little is left. The aim is of a time when the stock runner took 367 ms a task, ours 21.5."
)
WALL_AIM, CPU_AIM = "stock / our runner, wall a task", "stock / our runner, CPU a task"
SUBJECTS = (
    Subject(
        name="flow_overhead",
        title="Tasks of a flow",
        about=(
            f"No-op tasks on one Dask cluster of {WORKERS} processes and one Prefect server: from "
            "the first submission to the result of one more task that collects theirs, and CPU "
            "time of the flow's process and the workers, without the server's. API writes are "
            "requests that change something and messages on the server's sockets."
        ),
        opened=opened,
        variants=(STOCK, OURS, BARE),
        why={WRITES: WHY_WRITES, WALL_AIM: WHY_TENTH, CPU_AIM: WHY_TENTH},
        aims=(
            Aim(WALL_AIM, ratio(WALL, STOCK, OURS), 10, "higher"),
            Aim(CPU_AIM, ratio(CPU, STOCK, OURS), 10, "higher"),
        ),
    ),
)
