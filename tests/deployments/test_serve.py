"""Parts of `deployments.serve` that need no server: its port, and what ends it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deployments import serve
from flows.server.managed import API
from preprocess.faults import FaultsError


@pytest.fixture
def ports(monkeypatch):
    """Two ports that are free, for the usual hundred."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        found = tuple(each.getsockname()[1] for each in (one, two))
    monkeypatch.setattr(serve, "PORTS", found)
    return found


def port_of(folder: Path) -> int:
    with serve._listening_socket(folder) as found:
        return found.getsockname()[1]


def test_the_next_free_port_is_said_and_kept(ports, tmp_path, capsys):
    """So that bookmarks hold; the usual one as long as it was always free."""
    usual, other = ports
    assert port_of(tmp_path) == usual
    assert capsys.readouterr().out == ""
    with socket.create_server(("127.0.0.1", usual)):
        assert port_of(tmp_path) == other
        assert f"port {usual} is taken: the UI is at {other}" in capsys.readouterr().out
    assert port_of(tmp_path) == other
    with (
        socket.create_server(("127.0.0.1", usual)),
        socket.create_server(("127.0.0.1", other)),
        pytest.raises(FaultsError, match="no port is free"),
    ):
        port_of(tmp_path)


def test_it_ends_when_its_server_is_lost_or_a_process_worker_dies(tmp_path):
    """With the log that says why."""
    lost = API("", log=tmp_path / "server.log", is_lost=True)
    assert str(tmp_path / "server.log") in serve._wait_for_a_death(lost, {})
    log = tmp_path / "worker.log"
    dead = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    said = serve._wait_for_a_death(API(""), {log: dead})
    assert said == f"the process worker ended with status 3, see {log}"
