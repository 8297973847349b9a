"""The local Dask cluster: closed to strangers, unmoved by Ctrl-C."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import stat
import sys
import tempfile

import distributed
import psutil
import pytest

from flows.adapters.dask_adapter import shake_hands
from flows.runner.local_cluster import local_cluster

CONNECT_S, REFUSED_S = 30.0, 1.0


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A folder for temporary files in which another user was first: where Dask's would be."""
    folder = tmp_path_factory.mktemp("tmp")
    theirs = folder / "dask-scratch-space"
    theirs.mkdir()
    theirs.chmod(0o777)
    (folder / "precious.txt").write_text("precious")
    for lock in ("global.lock", "purge.lock"):
        (theirs / lock).symlink_to(folder / "precious.txt")
    return folder


@pytest.fixture(scope="module")
def cluster(planted):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(planted))
        made = local_cluster(2)
    with made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield client


def processes(client):
    """The processes of the workers."""
    return set(client.run(os.getpid).values())


def test_nobody_without_the_clusters_keys_comes_in_anywhere(cluster, client):
    """Neither unencrypted nor with another certificate; nor to a nanny or worker."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    ends = {cluster.scheduler_address, *workers, *(each["nanny"] for each in workers.values())}
    assert came_in(ends, cluster.security, CONNECT_S) == 5
    assert came_in(ends, distributed.Security.temporary(), REFUSED_S) == 0
    plain = [address.replace("tls://", "tcp://") for address in ends]
    assert came_in(plain, distributed.Security(), REFUSED_S) == 0


def came_in(addresses, security, timeout_s):
    """How many of these addresses speak with somebody who has such keys."""

    async def tried(address):
        try:
            await shake_hands(address, security, timeout_s)
        except OSError:
            return False
        return True

    async def all_tried():
        return sum(await asyncio.gather(*map(tried, addresses)))

    return asyncio.run(all_tried())


def test_dask_uses_no_folder_that_another_user_has_made(planted, client):
    """It would import that user's modules, and empty what links in it lead to."""
    ours = planted / f"training-scheduler-{os.getuid()}"
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700
    paths = [*client.run(lambda: list(sys.path)).values(), list(sys.path)]
    paths.append(client.run_on_scheduler(lambda: list(sys.path)))
    inside = {path for each in paths for path in each if path.startswith(str(planted))}
    assert len(inside) >= 3
    assert {path for path in inside if not path.startswith(f"{ours}/")} == set()
    assert (planted / "precious.txt").read_text() == "precious"


def is_served(port: int, page: str) -> bool:
    """Whether somebody without a key can read a web page at a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", f"/{page}")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listening_addresses():
    """The addresses at which this process and those that it has started listen."""
    here = psutil.Process()
    return [
        connection.laddr
        for process in [here, *here.children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


@pytest.mark.usefixtures("client")
def test_nothing_listens_beyond_this_machine():
    """Scheduler, nannies and workers listen on loopback only, and none serves unencrypted pages."""
    listening = listening_addresses()
    assert len(listening) >= 3
    assert {address.ip for address in listening} == {"127.0.0.1"}
    for page in ("status", "info/main/workers.html", "json/identity.json", "health", "metrics"):
        assert not [each.port for each in listening if is_served(each.port, page)]


def test_a_terminals_interrupt_does_not_reach_workers(client):
    """Ctrl-C goes to the whole process group; only the flow decides what it means."""
    before = processes(client)
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert client.submit(sum, [1, 2], pure=False).result(timeout=30) == 3
    assert processes(client) == before


def test_workers_start_light(client):
    """No torch and no Prefect, whatever this process has imported."""
    heavy = client.run(lambda: [name for name in ("torch", "prefect") if name in sys.modules])
    assert list(heavy.values()) == [[], []]
