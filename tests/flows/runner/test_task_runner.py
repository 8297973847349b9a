"""The task runner on a real Prefect engine and real Dask workers, while workers die."""

from __future__ import annotations

import gc
import time
from contextlib import closing
from types import SimpleNamespace

import distributed
import psutil
import pytest
from prefect import allow_failure, flow, task
from prefect.client.schemas.filters import FlowRunFilter
from prefect.states import Completed

from flows.runner.dispatch import WorkerLostError
from flows.runner.local_cluster import local_cluster
from flows.runner.task_runner import SceneTaskRunner

pytestmark = pytest.mark.usefixtures("prefect_server")

DEADLINE_S = 60


@pytest.fixture(scope="module")
def cluster():
    """Two workers; no default client, for a runner would take it before its own cluster."""
    with local_cluster(2) as made:
        with distributed.Client(made, set_as_default=False) as client:
            client.wait_for_workers(2)
        yield made


@pytest.fixture
def runner(cluster):
    """A runner of two on the module's cluster."""
    security = {"security": cluster.security}
    return SceneTaskRunner(2, address=cluster.scheduler_address, client_kwargs=security)


@pytest.fixture
def work(tmp_path):
    """A task's function that acts by its argument and notes each start in a file.

    What waits goes on once the file `work.go` exists.
    """
    folder = str(tmp_path)

    def work(name: str) -> str:
        import os
        import signal
        import time
        from pathlib import Path

        starts = Path(folder, name)
        with starts.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        first = len(starts.read_text().splitlines()) == 1
        if name.startswith("kills always") or (name.startswith("kills once") and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("raises"):
            raise ValueError(f"{name}: as wanted")
        while name.startswith("waits") and not Path(folder, "go").exists():
            time.sleep(0.02)
        return name

    work.go = tmp_path / "go"
    return work


@pytest.fixture
def starts(tmp_path):
    """How often each task was started, by its argument."""

    def starts() -> dict[str, int]:
        files = [path for path in tmp_path.iterdir() if path.name != "go"]
        return {path.name: len(path.read_text().splitlines()) for path in files}

    return starts


def task_runs(client, run_id):
    """What the server knows of a flow run's task runs, by name."""
    runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run_id]}))
    return {run.name: run for run in runs}


def test_a_lost_worker_costs_exactly_what_it_ran(runner, work, starts, prefect_server, eventually):
    """One kills its worker once, one always raises, the others do not notice; the aggregate gets
    all of them, with an edge from each."""
    names = ["kills once", "waits", "raises", "fine 1", "fine 2"]

    @flow(task_runner=runner)
    def all_of_them():
        futures = task(work, retries=2, task_run_name="{name}").map(names)
        gather = task(lambda given: [str(each) for each in given], task_run_name="aggregate")
        last = gather.submit([allow_failure(future) for future in futures])
        eventually(lambda: "fine 2" in starts(), "the others beside the one that waits")
        work.go.touch()
        return Completed(data=last.result())

    state = all_of_them(return_state=True)
    assert state.result() == [*names[:2], "raises: as wanted", *names[3:]]
    assert starts() == dict.fromkeys(names, 1) | {"kills once": 2, "raises": 3}
    run_id = state.state_details.flow_run_id
    final = eventually(lambda: all_ended(prefect_server, run_id, 6), "all task runs' ends")
    assert final["raises"].state_type == "FAILED"
    assert {each.id for each in final["aggregate"].task_inputs["given"]} == {
        final[name].id for name in names
    }


def all_ended(client, run_id, number):
    runs = task_runs(client, run_id)
    ended = len(runs) == number and all(run.state and run.state.is_final() for run in runs.values())
    return runs if ended else None


def test_a_task_that_always_kills_its_worker_fails_and_blames_nobody_else(
    runner, work, starts, eventually
):
    """Not Running for ever: WorkerLostError, which a retry condition can tell from the rest."""
    seen = []

    def again_when_lost(_task, run, state):
        seen.append((run.run_count, type(state.data)))
        return isinstance(state.data, WorkerLostError)

    @flow(task_runner=runner)
    def doomed():
        tried = task(work, retries=1, retry_condition_fn=again_when_lost)
        futures = tried.map(["kills always", "waits", "raises", "fine"])
        eventually(lambda: "fine" in starts(), "the others beside the one that waits")
        work.go.touch()
        return [future.result(raise_on_failure=False) for future in futures]

    lost, waited, raised, fine = doomed()
    assert isinstance(lost, WorkerLostError)
    assert "died while it ran this" in str(lost)
    assert isinstance(raised, ValueError)
    assert (waited, fine) == ("waits", "fine")
    assert starts() == {"kills always": 2, "waits": 1, "raises": 1, "fine": 1}
    assert seen == [(1, WorkerLostError), (1, ValueError)]


def test_as_many_run_as_there_are_workers_and_the_rest_is_pending(
    runner, work, starts, prefect_server, eventually
):
    """The server shows each task run from its submission on: 2 Running, 3 Pending."""

    @flow(task_runner=runner)
    def queue():
        futures = task(work).map([f"waits {number}" for number in range(5)])

        def states():
            run_id = prefect_run_id()
            return sorted(run.state_name for run in task_runs(prefect_server, run_id).values())

        wanted = ["Pending"] * 3 + ["Running"] * 2
        eventually(lambda: states() == wanted, "2 Running and 3 Pending")
        eventually(lambda: len(starts()) == 2, "two started tasks")
        work.go.touch()
        futures.wait(timeout=DEADLINE_S)
        return Completed()

    queue()
    assert list(starts().values()) == [1] * 5


def prefect_run_id():
    from prefect.runtime import flow_run

    return flow_run.id


def test_a_timeout_ends_the_task_run_while_its_function_goes_on(runner, work):
    """The engine waits in steps, so Prefect's timeout reaches it."""

    @flow(task_runner=runner)
    def hurried():
        (future,) = task(work, timeout_seconds=1).map(["waits"])
        future.wait(timeout=DEADLINE_S)
        work.go.touch()
        return Completed(message=future.state.name)

    assert hurried(return_state=True).message == "TimedOut"


def test_what_has_not_ended_when_the_runner_closes_is_cancelled(work, starts, eventually, caplog):
    """Running and waiting alike, without a hang, a worker left, or a traceback on the terminal."""

    @flow
    def left_early():
        with SceneTaskRunner(
            2, cluster_class=local_cluster, cluster_kwargs={"workers": 2}
        ) as runner:
            names = [f"waits {number}" for number in range(4)]
            futures = runner.map(task(work), {"name": names})
            eventually(lambda: len(starts()) == 2, "two started tasks")
        futures.wait(timeout=DEADLINE_S)
        return Completed(data=[future.state.name for future in futures])

    before = set(psutil.Process().children(recursive=True))
    assert left_early() == ["Cancelled"] * 4
    gc.collect()
    assert "never retrieved" not in caplog.text
    assert len(starts()) == 2
    assert not workers_since(before)


def workers_since(before):
    """Dask's worker processes that were not there before."""
    new = set(psutil.Process().children(recursive=True)) - before
    return [each for each in new if "spawn_main" in " ".join(each.cmdline())]


def test_an_interrupt_in_the_flow_leaves_no_worker(work, starts, eventually):
    """KeyboardInterrupt goes through, and takes the cluster with it."""

    @flow(
        task_runner=SceneTaskRunner(1, cluster_class=local_cluster, cluster_kwargs={"workers": 1})
    )
    def interrupted():
        task(work).map(["waits"])
        eventually(starts, "a started task")
        raise KeyboardInterrupt

    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not workers_since(before)


def test_a_cluster_that_goes_away_is_a_lost_worker(work, starts, eventually):
    """The scheduler is gone while a task runs: an exception, not a wait for ever."""
    with local_cluster(1) as own:

        @flow(
            task_runner=SceneTaskRunner(
                1,
                address=own.scheduler_address,
                client_kwargs={"security": own.security, "timeout": 5},
            )
        )
        def abandoned():
            (future,) = task(work).map(["waits"])
            eventually(starts, "a started task")
            own.close()
            return Completed(data=future.result(raise_on_failure=False))

        assert isinstance(abandoned(), WorkerLostError)


def test_a_cluster_that_cannot_be_closed_changes_no_result(runner, work):
    """Dask's client may break when it closes while it connects anew: what ran has run."""

    def break_down():
        raise ValueError("as wanted")

    @flow
    def closed_badly():
        with runner:
            (future,) = runner.map(task(work), {"name": ["fine"]})
            runner.close_with_cluster(closing(SimpleNamespace(close=break_down)))
            future.wait()
        return Completed(data=future.result())

    assert closed_badly() == "fine"


def test_a_copy_keeps_class_and_settings():
    """Prefect duplicates the runner for each flow run."""
    runner = SceneTaskRunner(3, cluster_class=local_cluster, cluster_kwargs={"workers": 3})
    copy = runner.duplicate()
    assert type(copy) is SceneTaskRunner
    assert copy == runner
    assert copy.max_workers == 3
    assert copy != SceneTaskRunner(2, cluster_class=local_cluster, cluster_kwargs={"workers": 3})


def test_a_task_that_cannot_run_on_a_worker_is_refused(runner):
    """A coroutine function would need Prefect there; no task run is left behind."""

    @task
    async def asynchronous():
        """Never called."""

    @flow(task_runner=runner)
    def refused():
        with pytest.raises(TypeError, match="'asynchronous' must be a plain function"):
            asynchronous.submit()

    refused()
    with pytest.raises(ValueError, match="max_workers is 0"):
        SceneTaskRunner(0)


def test_workers_know_neither_prefect_nor_its_api(runner):
    """What travels is the task's function: nothing of Prefect is imported there."""

    def modules() -> list[str]:
        import sys

        return [name for name in ("prefect", "torch", "hydra") if name in sys.modules]

    @flow(task_runner=runner)
    def look():
        return task(modules).submit().result()

    start = time.monotonic()
    assert look() == []
    assert time.monotonic() - start < DEADLINE_S
