"""Faults of a flow's own Prefect server, for flows on this machine and on Slurm.

A flow for each fault, all at once: of two scenes the first trains while the server or its database
goes, which does not come back by itself.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect_database import put_migrated_database

from tests.conftest import wait_for
from tests.faults.batch import small_disk
from tests.faults.markers import parameter

DISK_MB = 24
BOUND_S = 120
"""Of a minute's promise, on a busy machine; then a flow's test fails."""
SCENES = ("a_1", "a_2")
SERVER = "flows.server.process"
BREAKAGES = {
    "the server is killed": "a server that dies is not started again",
    "the database is gone": "a run without its server has failed",
    "the database is locked": "a silent server is asked for ever",
    "the database is full": "a silent server is asked for ever",
}


@dataclass
class Bereft:
    """A flow that lost its server or database, and the same command again."""

    lab: Any
    flow: Any
    status: int | None = None
    output: str = ""
    left: list[str] = field(default_factory=list)
    has_server: bool = True
    """Whether another server came for one that was killed."""

    def check(self) -> None:
        """Assert what the marker says."""
        assert self.status == 0, self.output
        assert "Traceback" not in self.output
        assert "2 of 2 scenes done" in self.output
        assert self.left == []
        assert self.has_server
        for scene in SCENES:
            assert self.lab.causes(scene) == ["ok"]
            assert len(self.lab.starts(scene)) == 1


def cells(way: str, faults: Iterable[str] = BREAKAGES) -> list[Any]:
    """Return the parameters of a way's tests."""
    words = {"ends": "done", "attempts": "ok", "flow": "completed", "left": "nothing"}
    return [
        parameter(fault, way, rerun="skips it", breakage=BREAKAGES[fault], **words)
        for fault in faults
    ]


def home_of(lab: Any) -> Path:
    """Return the folder with the database of a lab's server."""
    return Path(lab.environment["PREFECT_HOME"])


def server_of(flow: Any) -> psutil.Process:
    """Return the process that is a flow's own server."""
    for each in psutil.Process(flow.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if SERVER in each.cmdline():
                return each
    raise AssertionError(f"{flow.pid} has no server")


def kill(made: Bereft) -> None:
    """Kill the server, which is started again."""
    old = server_of(made.flow)
    old.kill()
    made.has_server = False
    with contextlib.suppress(pytest.fail.Exception):  # its own test tells
        made.has_server = wait_for(lambda: _other(made.flow, old), "another server")


def _other(flow: Any, old: psutil.Process) -> bool:
    with contextlib.suppress(AssertionError):
        return server_of(flow) != old
    return False


def remove(made: Bereft) -> None:
    """Delete the database and end the server, which has it open."""
    for each in home_of(made.lab).glob("prefect.db*"):
        each.unlink()
    kill(made)


def lock(made: Bereft) -> sqlite3.Connection:
    """Lock the database; the lock is held as long as the connection is kept."""
    connection = sqlite3.connect(home_of(made.lab) / "prefect.db", isolation_level=None)
    connection.execute("PRAGMA busy_timeout=60000")
    connection.execute("BEGIN IMMEDIATE")
    return connection


def fill(made: Bereft) -> None:
    """Fill the disk that the database is on."""
    with (
        (home_of(made.lab) / "ballast").open("wb", buffering=0) as ballast,
        contextlib.suppress(OSError),
    ):
        while ballast.write(bytes(4096)):
            pass


DO: dict[str, Callable[[Bereft], object]] = {
    "the server is killed": kill,
    "the database is gone": remove,
    "the database is locked": lock,
    "the database is full": fill,
}


@contextlib.contextmanager
def bereft_flows(
    make_lab: Callable[[], Any], start: Callable[[Any], Any], faults: Iterable[str] = BREAKAGES
) -> Iterator[dict[str, Bereft]]:
    """Yield each fault's flow after its end. `start` starts a flow of all scenes, one at a time."""
    made, kept = {}, []
    with contextlib.ExitStack() as disks:
        for fault in faults:
            lab = make_lab()
            if fault == "the database is full":
                disks.enter_context(small_disk(home_of(lab), DISK_MB))
            put_migrated_database(home_of(lab))
            lab.add_scene("a_1", do="wait")
            lab.add_scene("a_2")
            made[fault] = Bereft(lab, start(lab))
        for fault, each in made.items():
            wait_for((each.lab.output("a_1") / "ready.txt").exists, f"a trainer: {fault}", 120)
            kept.append(DO[fault](each))
            each.lab.let_go("a_1")
        for each in made.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.output = "".join(each.flow.communicate(timeout=BOUND_S))
                each.status = each.flow.returncode
            each.left = [str(stray) for stray in each.lab.strays()]
        for connection in filter(None, kept):
            connection.close()
        yield made


@contextlib.contextmanager
def guarded_server() -> Iterator[str]:
    """Yield the address of an API that is healthy and takes nobody's password."""

    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.endswith("/health") else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def wrong_password(way: str) -> pytest.MarkDecorator:
    """Return the marker of a way's test of a password that the server refuses."""
    return pytest.mark.fault(
        "the password is wrong",
        way,
        ends="not started",
        attempts="-",
        flow="refused",
        left="nothing",
        rerun="trains it with the right one",
        breakage="a password is not tried",
    )


def check_wrong_password(lab: Any, *flags: str) -> None:
    """Assert that a flow is refused with the variable's name before anything has begun."""
    lab.add_scene("a_1")
    with guarded_server() as url:
        lab.environment |= {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": "admin:no"}
        refused = lab.run(*flags, program=("-m", "flows.train"))
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "PREFECT_API_AUTH_STRING is not the server's" in refused.stderr
    assert not (lab.root / "results").exists()
    assert not (lab.root / "state").exists()
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        del lab.environment[name]
