"""What Prefect needs around it, settled before it is imported: an API, a home, and its silence.

Light: neither Prefect nor Dask is imported here.
"""

from __future__ import annotations

import fcntl
import http.client
import itertools
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.server.external_api import (
    ANSWER_S,
    CLIENT_KEY,
    CLIENT_PASSWORD,
    SERVER_PASSWORD,
    check_password,
    check_reachable,
    exposure,
    named_api,
)
from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.system.console import say

Environ = MutableMapping[str, str]
START_S = 120.0
STOP_S = 10.0
STARTS = 5
KEEP_S = 1.0
LOOPBACK = ("127.0.0.1", 0)
POLL_S = 0.05
LOG = "server.log"
RUN_SETTINGS = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",  # seconds; see deployments.crash_automation
    "PREFECT_API_REQUEST_TIMEOUT": "30",  # tried six times; a server may fall silent for good
}
"""Of the processes of our flow runs."""


@contextmanager
def prefect_api(state_root: Path, environ: Environ = os.environ, *, verbose: bool) -> Iterator[API]:
    """Settle `PREFECT_…` variables and give the API that a flow will talk to.

    That is the one the user names (PREFECT_API_URL, or the profile in a PREFECT_HOME that is set);
    else a server of this run, on loopback, with a password of its own, whose database is kept in
    PREFECT_HOME or in a folder of ours that no other flow uses meanwhile: never in ~/.prefect.

    The server starts while the caller goes on: call `API.wait_until_ready` before its first use.
    Raises FaultsError when the user's API does not answer, or not to him.
    """
    set_defaults(RUN_SETTINGS, environ)
    _keep_quiet(environ, verbose)
    if url := named_api(environ):
        use_named(url, environ)
        yield API(url)
        return
    # As it is: no run has an address there.
    environ.setdefault("PREFECT_SERVER_UI_ENABLED", "false")
    # Lock and socket stay open here too: a server that died is started again with both, and what
    # the flow sends meanwhile waits in the socket's queue.
    with _home(state_root, environ) as lock, socket.create_server(LOOPBACK) as listening:
        password = f"admin:{secrets.token_urlsafe(32)}"
        api = start_server(environ, (lock,), listening, password)
        try:
            yield api
        finally:
            api.stop()


@dataclass
class API:
    """A Prefect API, and the server behind it when it is ours."""

    url: str
    server: subprocess.Popen[bytes] | None = None
    log: Path = Path(os.devnull)
    start: Callable[[], subprocess.Popen[bytes]] | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def wait_until_ready(self, timeout_s: float = START_S) -> None:
        """Return once our server answers; raises FaultsError when it ends or takes too long."""
        if self.server is None:
            return
        deadline = time.monotonic() + timeout_s
        while not _is_healthy(self.url):
            if self.server.poll() is not None:
                raise self._fault(f"ended with status {self.server.returncode}")
            if time.monotonic() > deadline:
                raise self._fault(f"did not answer within {timeout_s:.0f} s")
            time.sleep(POLL_S)
        threading.Thread(target=self._keep_alive, name="prefect-server", daemon=True).start()

    def _keep_alive(self) -> None:
        """Start our server again when it dies: a flow without one would wait for it for ever."""
        starts_left = STARTS
        while starts_left and not self.stopping.wait(KEEP_S):
            if self.start and self.server and self.server.poll() is not None:
                starts_left -= 1
                self.server = self.start()

    def stop(self) -> None:
        """End our server; what has been sent to it by now is kept."""
        self.stopping.set()
        if self.server is None:
            return
        self.server.terminate()
        try:
            self.server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()

    def _fault(self, what: str) -> FaultsError:
        remedy = "see its log, or name a running server with PREFECT_API_URL"
        return FaultsError([Fault(f"Prefect's server {what}", str(self.log), remedy)])


def set_defaults(settings: Mapping[str, str], environ: Environ) -> None:
    """Set what the user has not."""
    for name, value in settings.items():
        environ.setdefault(name, value)


def use_named(url: str, environ: Environ = os.environ) -> None:
    """Check the API that the user names; warns about one that strangers can use.

    Raises FaultsError when it does not answer, or refuses the user's password.
    """
    check_reachable(url, environ)
    check_password(url, environ)
    for warning in exposure(url, environ):
        say(f"warning: {warning}", sys.stderr)


def forget_passwords(environ: Environ = os.environ) -> None:
    """Take what is secret out of the environment that workers, trainers and jobs inherit.

    Call once Prefect is imported: it has read its settings then.
    """
    for name in (SERVER_PASSWORD, CLIENT_PASSWORD, CLIENT_KEY):
        environ.pop(name, None)


def send_the_rest(timeout_s: float = STOP_S) -> None:
    """Wait until Prefect has sent the events and logs that it still holds; call before `stop`."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=timeout_s)
    APILogWorker.drain_all(timeout=timeout_s)


def _keep_quiet(environ: Environ, verbose: bool) -> None:
    environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    environ.setdefault("DO_NOT_TRACK", "1")
    environ.setdefault("PREFECT_CLI_PROMPT", "false")
    if not verbose:  # the flow says itself how scenes end; the API still gets what is logged
        environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")  # a lost server: pages


@contextmanager
def _home(state_root: Path, environ: Environ) -> Iterator[int]:
    """Settle PREFECT_HOME; yields a lock on it, which the server inherits and so holds."""
    if "PREFECT_HOME" in environ:
        lock = _users_home(Path(environ["PREFECT_HOME"]))
    else:
        home, lock = _free_home(state_root / "prefect")
        environ["PREFECT_HOME"] = str(home)
        environ.setdefault("PREFECT_API_BLOCKS_REGISTER_ON_START", "false")  # a new database: 2 s
    try:
        yield lock
    finally:
        os.close(lock)


def _users_home(home: Path) -> int:
    try:
        home.mkdir(parents=True, exist_ok=True)
        return os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        what, remedy = (
            "PREFECT_HOME can't be used",
            "name a folder that can be written, or unset it",
        )
        raise FaultsError([Fault(what, str(error), remedy)]) from error


def _free_home(folder: Path) -> tuple[Path, int]:
    """The first folder of ours that no server uses, locked: a migrated database is used again.

    Named by host, because SQLite's write-ahead log must not be shared between machines.
    """
    for number in itertools.count(1):
        home = folder / f"{socket.gethostname()}-{number}"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return home, lock
    raise AssertionError("counting has no end")


def start_server(
    environ: Environ,
    locks: tuple[int, ...],
    listening: socket.socket,
    password: str,
    *extras: str,
) -> API:
    """Start our server and point `environ` to it; it holds the locks as long as it lives.

    `extras`: `flows.server.process.WITH_UI` for the UI and all services, such as schedules.
    """
    port = listening.getsockname()[1]
    environ[SERVER_PASSWORD] = environ[CLIENT_PASSWORD] = password
    environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    environ["NO_PROXY"] = environ["no_proxy"] = _without_proxy(environ)
    log = Path(environ["PREFECT_HOME"], LOG)
    log.unlink(missing_ok=True)
    settings = dict(environ)  # with the password, which the flow forgets
    socket_fd = listening.fileno()

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as stream:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "flows.server.process",
                    str(os.getpid()),
                    str(socket_fd),
                    *extras,
                ],
                cwd=CHECKOUT,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(socket_fd, *locks),
                start_new_session=True,  # after a terminal's Ctrl-C there is an end to be told
            )

    return API(environ["PREFECT_API_URL"], start(), log, start)


def _without_proxy(environ: Environ) -> str:
    """The user's exceptions from his proxy, and loopback."""
    given = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return ",".join(filter(None, [given, "127.0.0.1"]))


def _is_healthy(url: str) -> bool:
    """Whether our server answers; asked without any proxy."""
    host = url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=ANSWER_S)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
