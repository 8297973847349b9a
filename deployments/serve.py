"""Prefect's UI, the deployments and what executes their runs, in one command: `make ui`.

`python -m deployments.serve` starts a server of our own, on loopback and with a password, deploys
prefect.yaml and starts the worker. Where PREFECT_API_URL names a server, that one is used. Ctrl-C
ends all of it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

from deployments import ENGINE, WORKER_STARTED
from deployments.check import PrefectFile, checked_file
from deployments.deploy import deploy
from deployments.orphaned_runs import end_leftovers
from flows.runner.stop_signals import Stops, first_stop_interrupts
from flows.server.external_api import SERVER_PASSWORD, named_api
from flows.server.managed import API, LOOPBACK, RUN_SETTINGS, set_defaults, start_server, use_named
from flows.server.process import WITH_UI
from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.system.atomic_write import write_atomically
from training.system.console import say
from training.system.exit_status import FAILED, INTERRUPTED, USAGE
from training.system.paths import resolve_roots
from training.system.processes import adopt_orphans

PORT = 4200
WORKER_LOG = "worker.log"
ADDRESS = "address"
PASSWORD = "password"  # noqa: S105  # a file's name
START_S = 60.0
END_S = 150.0
POLL_S = 0.2
OWN_SETTINGS = {  # of a server for one person; what the user sets wins
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}


def main() -> int:
    """Serve until Ctrl-C or SIGTERM (exit status 130); 2 for a fault, 1 when a part of it died."""
    parser = ArgumentParser(prog="python -m deployments.serve", description=__doc__)
    parser.parse_args()  # it takes none, and says so
    adopt_orphans()
    with first_stop_interrupts() as stops, ExitStack() as stack:
        try:
            checked_file()
            folder = _folder()
            lock = stack.enter_context(_only_one(folder))
            api = stack.enter_context(_settled_api(folder, lock))
            api.wait_until_ready()
            found = _deploy(own=api.server is not None)
            worker = stack.enter_context(_worker(folder, lock, stops))
            _wait_until_started(worker, folder)
            _tell(api, found, folder)
            worker.wait()
        except FaultsError as error:
            say(f"not served:\n{error}", sys.stderr)
            return USAGE
        except httpx.HTTPError as error:
            say(f"not served, Prefect's server failed: {error}", sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            say("ending runs, worker and server; once more ends them at once")
            return INTERRUPTED
    say(f"the worker ended with status {worker.returncode}, see {folder / WORKER_LOG}", sys.stderr)
    return FAILED


def _folder() -> Path:
    """Where all of it is kept, one for each machine: SQLite's log must not be shared."""
    folder = resolve_roots({}).state_root / "prefect" / f"{socket.gethostname()}-ui"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FaultsError([Fault("the state root can't be used", str(error))]) from error
    return folder


@contextmanager
def _only_one(folder: Path) -> Iterator[int]:
    """A lock that server and worker hold too; raises FaultsError while another one has it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FaultsError([_runs_already(folder)]) from None
        (folder / ADDRESS).unlink(missing_ok=True)
        yield lock
    finally:
        os.close(lock)


def _runs_already(folder: Path) -> Fault:
    file = folder / ADDRESS
    where = file.read_text(encoding="utf-8").strip() if file.exists() else "it is just starting"
    return Fault("one runs already, or is just ending", where, "use that one, or end it first")


@contextmanager
def _settled_api(folder: Path, lock: int) -> Iterator[API]:
    """The user's API, or a server of ours with the UI, always in the same home."""
    environ = os.environ
    environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    environ.setdefault("DO_NOT_TRACK", "1")
    set_defaults(RUN_SETTINGS, environ)
    if url := named_api(environ):
        use_named(url, environ)
        yield API(url)
        return
    environ.setdefault("PREFECT_HOME", str(folder))
    set_defaults(OWN_SETTINGS, environ)
    with _listening() as listening:
        api = start_server(environ, (lock,), listening, _password(folder), WITH_UI)
        try:
            yield api
        finally:
            api.stop()


def _listening() -> socket.socket:
    """A socket on the usual port, so that a bookmark holds; on a free one where that is taken."""
    try:
        return socket.create_server((LOOPBACK[0], PORT))
    except OSError:
        return socket.create_server(LOOPBACK)


def _password(folder: Path) -> str:
    """The user's own, or one that is made once and kept where only he can read it."""
    if given := os.environ.get(SERVER_PASSWORD):
        return given
    file = folder / PASSWORD
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
            stream.write(f"admin:{secrets.token_urlsafe(24)}\n")
    return file.read_text(encoding="utf-8").strip()


def _kept_password(folder: Path) -> str:
    file = folder / PASSWORD
    return f"in {file}" if file.exists() else f"in {SERVER_PASSWORD}"


def _deploy(*, own: bool) -> PrefectFile:
    if own:
        end_leftovers()
    return deploy()


@contextmanager
def _worker(folder: Path, lock: int, stops: Stops) -> Iterator[subprocess.Popen[bytes]]:
    """The process that executes runs; at the end it is given the time to end them."""
    environ = {key: value for key, value in os.environ.items() if key != SERVER_PASSWORD}
    with (folder / WORKER_LOG).open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "deployments.process_worker"],
            cwd=CHECKOUT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,  # a terminal's Ctrl-C is ours to pass on, once
        )
    try:
        yield worker
    finally:
        _end(worker, stops)


def _end(worker: subprocess.Popen[bytes], stops: Stops) -> None:
    """Have the worker end its runs; at once when asked a second time."""
    worker.terminate()
    hurried, deadline = False, time.monotonic() + END_S
    while worker.poll() is None:
        if stops.urgent and not hurried:
            worker.terminate()
            hurried = True
        if time.monotonic() > deadline:
            worker.kill()
        time.sleep(POLL_S)
    while _orphans() and time.monotonic() < deadline:  # of a worker that was killed
        time.sleep(POLL_S)


def _orphans() -> list[psutil.Process]:
    """Flow runs whose worker is dead: they still tell the server how they end."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and ENGINE in child.cmdline()
    ]


def _wait_until_started(worker: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_S
    log = folder / WORKER_LOG
    while WORKER_STARTED not in log.read_text(encoding="utf-8", errors="replace"):
        if worker.poll() is not None or time.monotonic() > deadline:
            raise FaultsError([Fault("the worker does not start", str(log), "see its log")])
        time.sleep(POLL_S)


def _tell(api: API, found: PrefectFile, folder: Path) -> None:
    """Where the UI is and what it offers; a password only to a terminal, never into a log."""
    address = api.url.removesuffix("/api")
    write_atomically(folder / ADDRESS, f"{address} (process {os.getpid()})\n")
    lines = [f"Prefect's UI: {address}"]
    if api.server is not None:
        shown = os.environ[SERVER_PASSWORD] if sys.stdout.isatty() else _kept_password(folder)
        lines += [f"password: {shown}"]
    lines += [f"deployments: {', '.join(each.full_name for each in found.deployments)}"]
    lines += [f"log of the runs: {folder / WORKER_LOG}", "Ctrl-C ends all of it, runs too"]
    say("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
