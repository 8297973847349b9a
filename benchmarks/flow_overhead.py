"""What a flow costs per scene: no-op tasks on three runners, interleaved, on one server.

    python benchmarks/flow_overhead.py --tasks 100 --workers 2

`stock` is prefect-dask's DaskTaskRunner, `ours` is flows.runner.task_runner.SceneTaskRunner, `bare` is
Dask without Prefect; all use one cluster. Each maps the tasks and collects their results in one
more. Printed per task, median over the rounds: wall time from the first submit to the last
result, and CPU time of the flow's process and the workers, which a busy machine disturbs less.
Record, claim and the start of a trainer are not in it.
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


def main() -> None:
    """Measure on a fresh server of our own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        os.environ.pop(name, None)
    os.environ["PREFECT_PROFILES_PATH"] = os.devnull  # no profile that names another server
    with tempfile.TemporaryDirectory() as folder, prefect_api(Path(folder), verbose=False) as api:
        from flows.adapters.prefect_adapter import send_buffered

        api.wait_until_ready()
        _measure(arguments.tasks, arguments.workers, arguments.rounds)
        send_buffered(STOP_TIMEOUT_S)


def _measure(tasks: int, workers: int, rounds: int) -> None:
    import distributed

    from flows.runner.local_cluster import local_cluster

    with local_cluster(workers) as cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(workers)
        runs = _runs(client, cluster, workers)
        remove_secrets()
        for run in runs.values():  # what is imported and connected once is not counted
            run(2 * workers)
        costs: dict[str, list[Cost]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                before = _cpu_s()
                wall_s = run(tasks)
                costs[name].append(Cost(wall_s * 1000 / tasks, (_cpu_s() - before) * 1000 / tasks))
    _print(costs)


class Cost(NamedTuple):
    """Milliseconds a task."""

    wall: float
    cpu: float


def _cpu_s() -> float:
    """CPU seconds so far of this process and its living children, Prefect's server excepted."""
    here = psutil.Process()
    family = [here, *here.children(recursive=True)]
    times = [each.cpu_times() for each in family if "flows.server.process" not in each.cmdline()]
    return sum(time.user + time.system for time in times)


def _runs(client: Any, cluster: Any, workers: int) -> dict[str, Callable[[int], float]]:
    """For each runner a function that runs that many no-op tasks and says how long it took."""
    from prefect_dask import DaskTaskRunner

    from flows.runner.task_runner import SceneTaskRunner

    where = {
        "address": cluster.scheduler_address,
        "client_kwargs": {"security": cluster.security},
    }

    def bare(tasks: int) -> float:
        start = time.perf_counter()
        futures = [client.submit(_nothing, number, pure=False) for number in range(tasks)]
        client.gather(client.submit(_count, futures, pure=False))
        return time.perf_counter() - start

    return {
        "stock": _flow(DaskTaskRunner(**where)),
        "ours": _flow(SceneTaskRunner(workers, **where)),
        "bare": bare,
    }


def _flow(runner: Any) -> Callable[[int], float]:
    """A flow on `runner` that times its own tasks: its start and end are not per task."""
    from prefect import flow, task

    nothing, count = task(_nothing), task(_count)

    @flow(task_runner=runner)
    def overhead(tasks: int) -> float:
        start = time.perf_counter()
        count.submit(nothing.map(list(range(tasks)))).result()
        return time.perf_counter() - start

    return overhead


def _nothing(number: int) -> int:
    return number


def _count(numbers: list[int]) -> int:
    return len(numbers)


def _print(costs: dict[str, list[Cost]]) -> None:
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
