"""The local Dask cluster: closed to strangers, unmoved by Ctrl-C."""

from __future__ import annotations

import http.client
import os
import signal
import sys

import distributed
import psutil
import pytest

from flows.runner.local_cluster import local_cluster


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield client


def processes(client):
    """The processes of the workers."""
    return set(client.run(os.getpid).values())


def test_a_client_without_the_clusters_keys_is_refused(cluster):
    """Neither unencrypted nor with another certificate: other users can reach loopback too."""
    host = cluster.scheduler_address.removeprefix("tls://")
    with pytest.raises(OSError, match=r"Timed out|Connection"):
        distributed.Client(f"tcp://{host}", timeout=1)
    stranger = distributed.Security.temporary()
    with pytest.raises(OSError, match="certificate"):
        distributed.Client(f"tls://{host}", security=stranger, timeout=1)


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


@pytest.mark.usefixtures("client")
def test_nothing_listens_beyond_this_machine():
    """Scheduler, nannies and workers listen on loopback only, and none serves unencrypted pages."""
    here = psutil.Process()
    listening = [
        connection.laddr
        for process in [here, *here.children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
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
