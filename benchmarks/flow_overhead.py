"""Measure what a flow costs per scene: no-op tasks on three runners, interleaved, on one server.

    python benchmarks/flow_overhead.py --tasks 100 --workers 2

`stock` is prefect-dask's DaskTaskRunner, `ours` is flows.runner.task_runner.SceneTaskRunner, `bare`
is Dask without Prefect; all use one cluster. Each maps the tasks and collects their results in one
more task. Printed per task, as the median over the rounds: wall time from the first submission to
the last result, and CPU time of the flow's process and the workers, which depends less on how busy
the machine is. Records, claims and the start of trainers are not included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flows.server.managed import STOP_TIMEOUT_S, prefect_api
from flows.server.settings import remove_secrets


class Cost(NamedTuple):
    """Milliseconds per task."""

    wall: float
    cpu: float


def main() -> None:
    """Measure on a fresh server of this process, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("PREFECT_API_URL", None)
        os.environ["PREFECT_HOME"] = folder  # the user's profile does not count either
        with prefect_api(Path(folder), verbose=False) as api:
            api.wait_until_ready()
            from flows.adapters.prefect_adapter import send_buffered

            costs = measure(arguments.tasks, arguments.workers, arguments.rounds)
            send_buffered(STOP_TIMEOUT_S)
    print_table(costs)


def measure(tasks: int, workers: int, rounds: int) -> dict[str, list[Cost]]:
    """Return each runner's cost in each round."""
    import distributed

    from flows.runner.local_cluster import local_cluster

    connect: Any = distributed.Client  # without types
    with local_cluster(workers) as cluster, connect(cluster) as client:
        client.wait_for_workers(workers)
        runs = make_runs(client, cluster, workers)
        remove_secrets()
        for run in runs.values():  # imports and first connections are not measured
            run(2 * workers)
        costs: dict[str, list[Cost]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                before = cpu_seconds()
                wall_s = run(tasks)
                cpu_s = cpu_seconds() - before
                costs[name].append(Cost(wall_s * 1000 / tasks, cpu_s * 1000 / tasks))
    return costs


def cpu_seconds() -> float:
    """Return CPU seconds so far of this process and its children, except for Prefect's server."""
    here = psutil.Process()
    family = [here, *here.children(recursive=True)]
    times = [each.cpu_times() for each in family if "flows.server.process" not in each.cmdline()]
    return sum(time.user + time.system for time in times)


def make_runs(client: Any, cluster: Any, workers: int) -> dict[str, Callable[[int], float]]:
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
        "stock": timed_flow(DaskTaskRunner(**connection)),
        "ours": timed_flow(SceneTaskRunner(workers, **connection)),
        "bare": bare,
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


def print_table(costs: dict[str, list[Cost]]) -> None:
    """Print each runner's median costs and the ratios."""
    medians = {
        name: Cost(*(statistics.median(column) for column in zip(*rounds, strict=True)))
        for name, rounds in costs.items()
    }
    for name, cost in medians.items():
        print(f"{name:6} {cost.wall:8.1f} ms wall {cost.cpu:8.1f} ms CPU a task")
    stock, ours = medians["stock"], medians["ours"]
    ratios = f"{stock.wall / ours.wall:.1f} wall, {stock.cpu / ours.cpu:.1f} CPU"
    print(f"stock / ours: {ratios} (aim: at least 10)")


if __name__ == "__main__":
    main()
