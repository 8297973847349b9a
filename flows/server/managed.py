"""The Prefect API that a flow talks to: the one that the user names, or a server of its own.

Light to import: neither Prefect nor httpx is imported before `prefect_api` is entered.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.server.database import DATABASE_FILE, is_beyond_use, put_aside_if_broken
from flows.server.settings import (
    API_URL,
    CLIENT_PASSWORD,
    DATABASE,
    HOME,
    PROFILES,
    RUN_DEFAULTS,
    SERVER_PASSWORD,
    Settings,
    read_settings,
    set_defaults,
)
from flows.server.standby import MODULE, Standby
from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.system.private_folder import make_private_folder
from training.system.waiting import awaited

Environ = MutableMapping[str, str]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
HEALTH_TIMEOUT_S = 5.0
MAX_RESTARTS = 5
RESTARTS_WITHIN_S = 3600.0
RESTART_CHECK_S = 1.0
DATABASE_CHECK_TURNS = 10
"""Every so many checks of our server its database is looked at, too."""
OWN_SERVER_DEFAULTS = {
    # The UI would be there for one run only, and no run has an address there.
    "PREFECT_SERVER_UI_ENABLED": "false",
    # The types of blocks are registered by a server with a UI, where blocks are made. To do so, or
    # to see whether it has been done (the second), this one would import all of Dask.
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}
POLL_S = 0.05
LOOPBACK = ("127.0.0.1", 0)
LOG = "server.log"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
QUIET = {  # the flow says itself how scenes end; the API still gets what is logged
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # a lost server costs pages
}


given_up = threading.Event()
"""Set once this process asks Prefect's server, own or named, no more: it has stayed silent."""


@contextmanager
def prefect_api(
    state_root: Path, *, verbose: bool, standby: Standby | None = None
) -> Iterator[API]:
    """Set Prefect's settings for this process and yield the API that a flow will talk to.

    That is the one that the user's settings name, by a variable, a profile or a file; else a server
    of this run, see `own_server`, for which `standby` waits. It starts while the caller goes on:
    call `API.wait_until_ready` before its first use.

    Raises FaultsError when the settings are not valid, or the user's API can't be used.
    """
    settings = read_settings()
    set_defaults({**RUN_DEFAULTS, **({} if verbose else QUIET)}, settings)
    if url := settings.get(API_URL):
        if standby:
            standby.end_unused()
        from flows.server.external_api import check_server

        check_server(url, settings)
        bypass_proxy(url)
        read_settings()  # with our defaults, for Prefect in this process
        yield API(url)
        return
    with own_server(state_root, settings, standby=standby) as api:
        read_settings()
        yield api


@contextmanager
def own_server(
    state_root: Path,
    settings: Settings,
    environ: Environ = os.environ,
    standby: Standby | None = None,
) -> Iterator[API]:
    """Start a server on loopback with a password of its own, and point `environ` to it.

    Its database is kept in the user's PREFECT_HOME, or in a folder of ours that no other flow uses
    meanwhile: never in ~/.prefect.
    """
    set_defaults(OWN_SERVER_DEFAULTS, settings, environ)
    # Lock and socket stay open here too: a server that died is started again with both, and what
    # the flow sends meanwhile waits in the socket's queue.
    with _home(state_root, settings, environ) as lock, socket.create_server(LOOPBACK) as listening:
        password = f"admin:{secrets.token_urlsafe(32)}"
        api = start_server(environ, settings, (lock,), listening, password, standby=standby)
        try:
            yield api
        finally:
            with awaited("Prefect's server ends"):
                api.stop()


@dataclass
class API:
    """A Prefect API, and the server behind it when it is ours."""

    url: str
    server: subprocess.Popen[bytes] | None = None
    log: Path = Path(os.devnull)
    start: Callable[[], subprocess.Popen[bytes]] | None = None
    database: Path | None = None
    """Our server's."""
    stopping: threading.Event = field(default_factory=threading.Event)
    has_database: bool = True
    """Whether it is known to answer within seconds: making its database takes half a minute."""
    is_lost: bool = False
    """Whether our server has died so often that it is not started again."""

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
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
        restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
        for turn in itertools.count(1):
            if self.stopping.wait(RESTART_CHECK_S):
                return
            if turn % DATABASE_CHECK_TURNS == 0:
                self._end_with_database()
            if self.start is None or self.server is None or self.server.poll() is None:
                continue
            moment = time.monotonic()
            if len(restarts) == MAX_RESTARTS and moment - restarts[0] < RESTARTS_WITHIN_S:
                self.is_lost = True
                return
            with suppress(OSError):  # no memory, no process: tried again
                self.server = self.start()
                restarts.append(moment)

    def _end_with_database(self) -> None:
        """End our server where its database is beyond use: it would only answer with errors."""
        if self.server and self.database and is_beyond_use(self.database):
            self.server.kill()
            self.server.wait()

    def stop(self) -> None:
        """End our server; what has been sent to it by now is kept."""
        self.stopping.set()
        if self.server is None:
            return
        self.server.terminate()
        try:
            self.server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()

    def _fault(self, what: str) -> FaultsError:
        remedy = f"see its log, or name a running server with {API_URL}"
        return FaultsError([Fault(f"Prefect's server {what}", str(self.log), remedy)])


def exit_without_server(status: int) -> None:
    """End this process where Prefect's server was given up; else return.

    At the interpreter's end Prefect would go on trying to send it what is left of the run's log.
    """
    if given_up.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def bypass_proxy(url: str, environ: Environ = os.environ) -> None:
    """Exempt a server on this machine from the proxies of this process and its children.

    The user's own exceptions from the proxy stay; without a proxy nothing is changed.
    """
    import httpx

    from flows.server.external_api import is_loopback

    if not any(environ.get(name) or environ.get(name.upper()) for name in PROXIES):
        return
    host = httpx.URL(url).host
    exceptions = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
    if is_loopback(host) and host not in exceptions:
        environ["NO_PROXY"] = environ["no_proxy"] = ",".join(filter(None, [*exceptions, host]))


def start_server(
    environ: Environ,
    settings: Settings,
    locks: tuple[int, ...],
    listening: socket.socket,
    password: str,
    *extras: str,
    standby: Standby | None = None,
) -> API:
    """Start our server and point `environ` to it; it holds the locks as long as it lives.

    `extras`: `flows.server.process.WITH_UI` for the UI and all services, such as schedules. Without
    them `standby` is used, if it is there; it is started again like any other.
    """
    port = listening.getsockname()[1]
    environ[SERVER_PASSWORD] = environ[CLIENT_PASSWORD] = password
    environ[API_URL] = f"http://{LOOPBACK[0]}:{port}/api"
    bypass_proxy(environ[API_URL], environ)
    log = Path(environ[HOME], LOG)
    log.unlink(missing_ok=True)
    # With the password, which the flow removes, and with what the user has set in files that are
    # found from the user's current folder only.
    variables = {**settings, **environ}
    database = Path(environ[HOME], DATABASE_FILE)
    recipe = _Recipe(variables, listening.fileno(), locks, extras, log, database)
    put_aside_if_broken(database)
    has_database = DATABASE in variables or database.exists()
    server = recipe.start_standby(standby) if standby else recipe.start()
    return API(environ[API_URL], server, log, recipe.start, database, has_database=has_database)


@dataclass(frozen=True)
class _Recipe:
    """How a server of ours is started, now and when it has died."""

    variables: Mapping[str, str]
    socket_fd: int
    locks: tuple[int, ...]
    extras: tuple[str, ...]
    log: Path
    database: Path

    def start(self) -> subprocess.Popen[bytes]:
        put_aside_if_broken(self.database)
        arguments = [str(os.getpid()), str(self.socket_fd), *self.extras]
        with self.log.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-m", MODULE, *arguments],
                cwd=CHECKOUT,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(self.socket_fd, *self.locks),
                start_new_session=True,  # at a terminal's Ctrl-C the flow has still to say its end
            )

    def start_standby(self, standby: Standby) -> subprocess.Popen[bytes]:
        """Have a standby serve; where it can't, start another process."""
        with self.log.open("ab") as stream:
            fds = (stream.fileno(), self.socket_fd, *self.locks)
            return standby.process if standby.serve(self.variables, fds) else self.start()


@contextmanager
def _home(state_root: Path, settings: Settings, environ: Environ) -> Iterator[int]:
    """Choose PREFECT_HOME; yield a lock on it, which the server inherits and so holds."""
    if home := settings.get(HOME):
        lock = _lock_users_home(Path(home))
    else:
        free, lock = _lock_free_home(state_root / "prefect")
        home = str(free)
        environ[PROFILES] = settings[PROFILES]  # the user's profile still counts
    environ[HOME] = home
    try:
        yield lock
    finally:
        os.close(lock)


def _lock_users_home(home: Path) -> int:
    try:
        home.mkdir(parents=True, exist_ok=True)
        return os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        remedy = "name a folder that can be written, or unset it"
        raise FaultsError([Fault(f"{HOME} can't be used", str(error), remedy)]) from error


def _lock_free_home(folder: Path) -> tuple[Path, int]:
    """Lock the first folder of ours that no server uses, so that a migrated database serves again.

    Named by host, because SQLite's write-ahead log must not be shared between machines. Those of
    other users, where the state root is shared, are left alone. Raises FaultsError.
    """
    for number in itertools.count(1):
        home = folder / f"{socket.gethostname()}-{number}"
        try:
            make_private_folder(home)
        except OSError as error:
            if home.is_symlink() or home.is_dir():
                continue
            raise FaultsError([Fault("Prefect's folder can't be made", str(error))]) from error
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return home, lock
    raise AssertionError("counting has no end")


def _is_healthy(url: str) -> bool:
    """Return whether our server answers."""
    from flows.server.external_api import check_reachable

    try:
        check_reachable(url, {}, HEALTH_TIMEOUT_S)
    except FaultsError:
        return False
    return True
