"""What `flows/adapters/dask_adapter.py` uses of dask and distributed.

A failure means that the installed distributed has changed: that file must change, and no other.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
import threading
from concurrent.futures import CancelledError, Future
from functools import partial

import pytest
from contract import contract

ADAPTER = "flows/adapters/dask_adapter.py"
dask_contract = partial(contract, "distributed")


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and one worker, on threads of this process."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        silence_logs=False,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    from distributed import Client

    with Client(cluster, set_as_default=False) as made:
        yield made


def test_the_adapter_can_be_imported():
    """Every name that it imports is where it was."""
    with dask_contract("(see below)", ADAPTER, "at all"):
        import flows.adapters.dask_adapter  # noqa: F401


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("distributed.scheduler.allowed-failures", int),
        ("distributed.scheduler.worker-saturation", (int, float, str)),
        ("distributed.scheduler.http.routes", list),
        ("distributed.admin.low-level-log-length", int),
        ("distributed.worker.profile.enabled", bool),
        ("distributed.worker.http.routes", list),
        ("distributed.nanny.pre-spawn-environ", dict),
    ],
)
def test_dask_knows_each_setting_that_we_change(key, kind):
    """Keys of dask.config; an unknown one is ignored."""
    with dask_contract(f"the setting {key}", f"{ADAPTER} *_CONFIG", "to have an effect"):
        import dask
        import distributed  # noqa: F401  # has the defaults

        from flows.adapters.dask_adapter import SCHEDULER_CONFIG, WORKER_CONFIG

        assert isinstance(dask.config.get(key), kind)
        value = {**SCHEDULER_CONFIG, **WORKER_CONFIG}[key]
        with dask.config.set({key: value}):
            assert dask.config.get(key) == value
        assert len(SCHEDULER_CONFIG) + len(WORKER_CONFIG) == 7


def test_a_scheduler_reads_its_settings_when_it_is_made():
    """Scheduler.allowed_failures and WORKER_SATURATION."""
    with dask_contract(
        "Scheduler", f"{ADAPTER} SCHEDULER_CONFIG", "to end a task with its worker, and only that"
    ):
        import dask
        from distributed.scheduler import Scheduler

        from flows.adapters.dask_adapter import SCHEDULER_CONFIG

        async def made():
            with dask.config.set(dict(SCHEDULER_CONFIG)):
                return Scheduler(dashboard=False, port=0)

        scheduler = asyncio.run(made())
        assert scheduler.allowed_failures == 0
        assert scheduler.WORKER_SATURATION == 1.0


# Clusters of this machine


def test_a_nanny_can_be_closed_with_a_time_limit():
    """Nanny.close, SpecCluster._close."""
    with dask_contract(
        "Nanny.close, SpecCluster._close", f"{ADAPTER} PromptLocalCluster", "to stop quickly"
    ):
        from distributed import Nanny
        from distributed.deploy.spec import SpecCluster

        assert inspect.signature(Nanny.close).bind("nanny", timeout=1.0)
        assert inspect.iscoroutinefunction(SpecCluster._close)
        assert "self._close" in inspect.getsource(SpecCluster.__mro__[1])  # called by close()


def test_a_cluster_says_where_its_scheduler_listens(cluster):
    """Cluster.scheduler_address and scheduler."""
    with dask_contract("Cluster.scheduler_address", f"{ADAPTER} scheduler_address", "for jobs"):
        assert cluster.scheduler_address == cluster.scheduler.address


# Tasks


def test_a_worker_runs_tasks_on_the_thread_of_its_executor(cluster, client):
    """Worker.executors."""
    with dask_contract("Worker.executors", f"{ADAPTER} run_ahead", "to be ready for a scene"):
        (worker,) = cluster.workers.values()
        ahead = worker.executors["default"].submit(threading.get_ident)
        assert client.submit(threading.get_ident, pure=False).result(30) == ahead.result(30)


def test_a_result_can_be_gathered_on_the_clients_event_loop(client):
    """Client.submit, Client.gather(asynchronous=True), Client.loop.asyncio_loop."""
    with dask_contract(
        "Client.gather", f"{ADAPTER} result_future", "to wait for a result and a stop at once"
    ):
        future = client.submit(sum, [1, 2], pure=False, workers=None)
        coroutine = client.gather(future, asynchronous=True)
        result = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
        assert isinstance(result, Future)
        assert result.result(timeout=30) == 3
        assert future.done()
        future.release()


def test_equal_calls_run_again_unless_they_are_pure(client):
    """Client.submit(pure=False)."""
    with dask_contract("Client.submit", f"{ADAPTER} submit", "to train a scene again on retry"):
        keys = {client.submit(sum, [1, 2], pure=False).key for _ in range(2)}
        assert len(keys) == 2


def test_a_task_can_be_sent_to_one_worker(client):
    """Client.submit(workers=address)."""
    with dask_contract("Client.submit", f"{ADAPTER} submit", "to run a scene in its own job"):
        from distributed import get_worker

        (address,) = client.scheduler_info()["workers"]
        future = client.submit(lambda: get_worker().address, pure=False, workers=address)
        assert future.result(timeout=30) == address


def test_a_cancelled_task_is_a_cancelled_future(client):
    """distributed.client.FutureCancelledError, Future.cancel."""
    with dask_contract("FutureCancelledError", f"{ADAPTER} LOSSES", "to know a lost worker"):
        from distributed.client import FutureCancelledError

        future = client.submit(sum, [1, 2], pure=False, workers=["tcp://127.0.0.1:1"])
        coroutine = client.gather(future, asynchronous=True)
        result = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
        future.cancel()
        with pytest.raises((FutureCancelledError, CancelledError)):
            result.result(timeout=30)


def test_the_death_of_a_worker_names_the_worker():
    """distributed.scheduler.KilledWorker.last_worker."""
    with dask_contract("KilledWorker", f"{ADAPTER} loss_message", "to say which worker died"):
        from distributed.scheduler import KilledWorker, WorkerState

        state = WorkerState(
            address="tcp://127.0.0.1:1",
            status="running",
            pid=1,
            name="w1",
            nthreads=1,
            memory_limit=0,
            local_directory="/",
            nanny="",
            server_id="id",
        )
        assert KilledWorker("task", state, 0).last_worker.address == "tcp://127.0.0.1:1"


def test_a_lost_connection_is_an_error_of_its_own():
    """distributed.comm.core.CommClosedError."""
    with dask_contract("CommClosedError", f"{ADAPTER} LOSSES", "to know a lost scheduler"):
        from distributed.comm.core import CommClosedError

        assert issubclass(CommClosedError, OSError)


# Scheduler and workers without web servers


def test_scheduler_and_worker_start_their_web_server_by_one_method():
    """Scheduler.start_http_server, Worker.start_http_server."""
    with dask_contract(
        "ServerNode.start_http_server",
        f"{ADAPTER} QuietScheduler, QuietWorker",
        "to listen nowhere unencrypted",
    ):
        from flows.adapters.dask_adapter import QuietScheduler, QuietWorker

        async def attributes():
            scheduler = QuietScheduler(dashboard=False, port=0, host="127.0.0.1")
            async with scheduler:
                worker = QuietWorker(
                    scheduler.address, on_close=lambda: None, dashboard=False, nthreads=1
                )
                async with worker:
                    return [hasattr(node, "http_server") for node in (scheduler, worker)]

        assert asyncio.run(attributes()) == [False, False]


def test_workers_come_with_name_and_information_and_close_when_told():
    """Worker(startup_information), SchedulerPlugin, Scheduler.workers, aliases, close_worker."""
    with dask_contract(
        "SchedulerPlugin, Scheduler.aliases, Worker.close",
        f"{ADAPTER} WorkerEvents, close_worker, QuietWorker",
        "to lend a job from its worker's arrival on",
    ):
        from flows.adapters.dask_adapter import (
            QuietScheduler,
            QuietWorker,
            WorkerEvents,
            close_worker,
        )

        seen = []

        def came(name, address, extra):
            seen.append((f"came from {address[:6]} in job {extra['job_id']}", name))
            return name != "unwanted"

        def worker(scheduler, name):
            return QuietWorker(
                scheduler.address,
                on_close=lambda: seen.append(("closes", name)),
                name=name,
                nthreads=1,
                dashboard=False,
                death_timeout=10,
                startup_information={"job_id": lambda _: "17"},
            )

        async def come_and_go():
            async with QuietScheduler(dashboard=False, port=0, host="127.0.0.1") as scheduler:
                scheduler.add_plugin(WorkerEvents(came, lambda name: seen.append(("left", name))))
                for name in ("w1", "unwanted"):
                    made = await worker(scheduler, name)
                    close_worker(scheduler, "w1")
                    close_worker(scheduler, "unknown")
                    await asyncio.wait_for(made.finished(), 30)
                await asyncio.sleep(0.1)  # until the scheduler has noticed

        asyncio.run(come_and_go())
        came_in_job = "came from tcp:// in job 17"
        assert list(dict.fromkeys(seen)) == [
            (came_in_job, "w1"),
            ("closes", "w1"),
            ("left", "w1"),
            (came_in_job, "unwanted"),
            ("closes", "unwanted"),
        ]


def test_a_worker_knows_a_lost_scheduler_from_one_that_closes_it():
    """Worker.close(reason), and the reason that distributed gives where the connection breaks."""
    with dask_contract(
        "Worker.close(reason)", f"{ADAPTER} SCHEDULER_LOST", "to let a scene outlive its flow"
    ):
        from flows.adapters.dask_adapter import QuietScheduler, QuietWorker

        began, go = threading.Event(), threading.Event()

        async def lose(*, orderly):
            seen = []
            scheduler = await QuietScheduler(dashboard=False, port=0, host="127.0.0.1")
            worker = await QuietWorker(
                scheduler.address,
                on_close=lambda: seen.append("closed"),
                on_loss=lambda: seen.append("lost") or True,
                dashboard=False,
                nthreads=1,
            )
            running = worker.executors["default"].submit(lambda: began.set() or go.wait(30))
            await asyncio.to_thread(began.wait, 30)
            if orderly:
                go.set()
                scheduler.close_worker(worker.address)
            else:
                for comm in scheduler.stream_comms.values():
                    comm.abort()
            await asyncio.wait_for(worker.finished(), 20)
            is_running = not running.done()
            go.set()
            await scheduler.close()
            return dict.fromkeys(seen), worker.is_orphan, is_running

        assert asyncio.run(lose(orderly=False)) == ({"lost": None}, True, True)
        began.clear()
        assert asyncio.run(lose(orderly=True)) == ({"closed": None}, False, False)


# Certificates


def test_certificates_speak_tls_at_both_ends(tmp_path):
    """Security.temporary, get_tls_config_for_role, get_connection_args; comm.connect."""
    with dask_contract(
        "Security", f"{ADAPTER} new_certificates, tls_security, shake_hands", "to encrypt"
    ):
        from flows.adapters.dask_adapter import (
            QuietScheduler,
            new_certificates,
            shake_hands,
            temporary_security,
            tls_security,
        )

        texts = new_certificates()
        assert set(texts) == {"ca_file", "cert", "key"}
        files = {name: str(tmp_path / name) for name in texts}
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        ours, others = tls_security(**files), temporary_security()

        async def connect(security):
            async with QuietScheduler(
                dashboard=False, protocol="tls://", port=0, host="127.0.0.1", security=ours
            ) as scheduler:
                assert scheduler.address.startswith("tls://127.0.0.1:")
                await shake_hands(scheduler.address, security, 1)

        asyncio.run(connect(ours))
        with pytest.raises((OSError, ssl.SSLError)):
            asyncio.run(connect(others))
