"""Prefect's UI, the deployments and what executes their runs, in one command: `make ui`.

`python -m deployments.serve` starts a server of our own, on loopback and with a password, deploys
prefect.yaml and starts the process worker. Where the user's Prefect settings name a server, that
one is used. Ctrl-C ends all of it.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

if __name__ == "__main__":
    from preprocess.interpreter import FLOW, require

    require(FLOW)

import httpx
import psutil

from deployments import ENGINE, NO_SPARE, POOL, PROCESS_WORKER_READY
from deployments.api_client import connect
from deployments.check import PrefectFile, load_prefect_file
from deployments.deploy import deploy
from deployments.orphaned_runs import end_orphaned_runs
from deployments.scene_menus import SceneMenus
from flows.runner.stop_signals import StopCount, first_stop_interrupts
from flows.server.external_api import check_server
from flows.server.managed import API, LOOPBACK, MAX_RESTARTS, bypass_proxy, start_server
from flows.server.process import WITH_UI
from flows.server.settings import (
    API_URL,
    HOME,
    PROFILES,
    RUN_DEFAULTS,
    SERVER_PASSWORD,
    Settings,
    read_settings,
    set_defaults,
)
from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT, variables_of_installed_copy
from training.system.atomic_write import write_atomically
from training.system.console import say
from training.system.exit_status import FAILED, INTERRUPTED, USAGE
from training.system.paths import resolve_roots
from training.system.private_folder import make_private_folder
from training.system.processes import adopt_orphans
from training.system.typed_command import spelled

PORTS = range(4200, 4300)
LOG = "worker.log"
ADDRESS = "address"
PORT = "port"
PASSWORD = "password"  # noqa: S105  # a file's name
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 150.0
POLL_S = 0.2
Workers = Mapping[Path, "subprocess.Popen[bytes]"]
"""Process workers by their logs."""
OWN_DEFAULTS = {  # of a server for one person
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_WORKER_QUERY_SECONDS": "1",  # a run waits half of it; costs 3 % of a core
}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM (exit status 130); 2 for a fault, 1 when a part of it died."""
    arguments = _parser().parse_args(argv)
    pools = list(dict.fromkeys(arguments.pools or [POOL]))
    options = [NO_SPARE] if arguments.no_spare_engine else []
    adopt_orphans()
    with first_stop_interrupts() as stops, ExitStack() as stack:
        try:
            with stops.keep_interrupts():
                died = _serve(pools, options, stack, stops)
            say(f"{died}: runs and all else end", sys.stderr)
        except FaultsError as error:
            say(f"not served:\n{error}", sys.stderr)
            return USAGE
        except httpx.HTTPError as error:
            say(f"not served, Prefect's server failed: {error}", sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            say("ending runs, process worker and server; once more ends them at once")
            return INTERRUPTED
    return FAILED


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog=spelled("ui"), description=__doc__)
    parser.add_argument(
        "--pool",
        action="append",
        dest="pools",
        metavar="NAME",
        help=f"a work pool whose runs are executed here; several times for several ({POOL})",
    )
    parser.add_argument(
        NO_SPARE,
        action="store_true",
        help="start each run in a new process: saves the memory of one that is kept ready",
    )
    return parser


def _serve(pools: Sequence[str], options: Sequence[str], stack: ExitStack, stops: StopCount) -> str:
    """Start all parts, which end with `stack`, and serve; return which of them has died."""
    say("prefect.yaml is checked")
    read_settings()  # wrong ones are a fault, where importing Prefect ends in a traceback
    load_prefect_file()
    folder = _folder()
    lock = stack.enter_context(_only_one(folder))
    api = stack.enter_context(_running_api(folder, lock))
    api.wait_until_ready()
    settings = read_settings()
    say("deployments are brought up to date")
    found = _deploy(settings, pools, is_own=api.server is not None)
    say("the process worker starts")
    workers = {
        folder / _log_of(pool): stack.enter_context(
            _process_worker(settings, [pool, *options], folder / _log_of(pool), lock, stops)
        )
        for pool in pools
    }
    _wait_until_started(workers)
    _announce(api, found, folder, workers)
    return _wait_for_a_death(api, workers, SceneMenus(settings).refresh)


def _log_of(pool: str) -> str:
    return LOG if pool == POOL else f"worker-{pool}.log"


def _wait_for_a_death(
    api: API, workers: Workers, meanwhile: Callable[[], None] = lambda: None
) -> str:
    """Wait until a process worker has ended, or our server died too often; return which."""
    while not api.is_lost:
        for log, worker in workers.items():
            if worker.poll() is not None:
                return f"the process worker ended with status {worker.returncode}, see {log}"
        meanwhile()
        time.sleep(POLL_S)
    return f"Prefect's server died {MAX_RESTARTS + 1} times within an hour, see {api.log}"


def _folder() -> Path:
    """Create and return the folder of everything, one a machine: SQLite's log can't be shared."""
    folder = resolve_roots({}).state_root / "prefect" / f"{socket.gethostname()}-ui"
    try:
        return make_private_folder(folder)
    except OSError as error:
        remedy = "set TS_STATE_ROOT to a folder of your own"
        raise FaultsError([Fault("the state root can't be used", str(error), remedy)]) from error


@contextmanager
def _only_one(folder: Path) -> Iterator[int]:
    """Yield a lock that server and process worker inherit; raises FaultsError when it is taken."""
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
def _running_api(folder: Path, lock: int) -> Iterator[API]:
    """Yield the user's API, or that of a server of ours with the UI, always in the same home."""
    settings = read_settings()
    set_defaults(RUN_DEFAULTS, settings)
    if url := settings.get(API_URL):
        check_server(url, settings)
        bypass_proxy(url)
        yield API(url)
        return
    set_defaults(OWN_DEFAULTS, settings)
    os.environ[HOME] = settings.get(HOME, str(folder))
    os.environ[PROFILES] = settings[PROFILES]  # the user's profile still counts
    with _listening_socket(folder) as listening:
        say("Prefect's server starts; the first time it makes its database, up to a minute")
        password = settings.get(SERVER_PASSWORD) or _kept_password(folder)
        api = start_server(os.environ, settings, (lock,), listening, password, WITH_UI)
        try:
            yield api
        finally:
            api.stop()


def _listening_socket(folder: Path) -> socket.socket:
    """Return a socket on the port of the last start, so that bookmarks hold, or the next free one.

    Raises FaultsError when none is free.
    """
    kept = folder / PORT
    text = kept.read_text(encoding="utf-8").strip() if kept.exists() else ""
    last = int(text) if text.isdecimal() else PORTS[0]
    for port in dict.fromkeys([last, *PORTS]):
        try:
            found = socket.create_server((LOOPBACK[0], port))
        except OSError:
            continue
        if port != last:
            say(f"port {last} is taken: the UI is at {port} from now on")
        write_atomically(kept, f"{port}\n")
        return found
    raise FaultsError(
        [Fault("no port is free", f"{PORTS[0]} to {PORTS[-1]}", "end what uses them")]
    )


def _kept_password(folder: Path) -> str:
    """Return the password of earlier starts; it is made once, readable by the user only."""
    file = folder / PASSWORD
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
            stream.write(f"admin:{secrets.token_urlsafe(24)}\n")
    return file.read_text(encoding="utf-8").strip()


def _deploy(settings: Settings, pools: Sequence[str], *, is_own: bool) -> PrefectFile:
    if is_own:
        with connect(settings) as client:
            end_orphaned_runs(client, pools)
    return deploy(settings, pools=pools)


@contextmanager
def _process_worker(
    settings: Settings, arguments: Sequence[str], log_file: Path, lock: int, stops: StopCount
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the process that executes a pool's runs; at the end, give it the time to end them."""
    variables = {**settings, **os.environ, **variables_of_installed_copy()}
    variables.pop(SERVER_PASSWORD, None)
    with log_file.open("wb") as log:
        process_worker = subprocess.Popen(
            [sys.executable, "-m", "deployments.process_worker", *arguments],
            cwd=CHECKOUT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,  # a terminal's Ctrl-C is ours to pass on, once
        )
    try:
        yield process_worker
    finally:
        _end(process_worker, stops)


def _end(process_worker: subprocess.Popen[bytes], stops: StopCount) -> None:
    """Stop the process worker and its runs; at the user's second request without their grace."""
    process_worker.terminate()
    hurried, deadline = False, time.monotonic() + END_TIMEOUT_S
    while process_worker.poll() is None:
        if stops.is_repeated and not hurried:
            process_worker.terminate()
            hurried = True
        if time.monotonic() > deadline:
            process_worker.kill()
        time.sleep(POLL_S)
    while _orphans() and time.monotonic() < deadline:  # of a process worker that was killed
        time.sleep(POLL_S)


def _orphans() -> list[psutil.Process]:
    """Return flow runs whose process worker is dead: they still report their ends to the server."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and ENGINE in child.cmdline()
    ]


def _wait_until_started(workers: Workers) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    for log, worker in workers.items():
        while PROCESS_WORKER_READY not in log.read_text(encoding="utf-8", errors="replace"):
            if worker.poll() is not None or time.monotonic() > deadline:
                fault = Fault("the process worker does not start", str(log), "see its log")
                raise FaultsError([fault])
            time.sleep(POLL_S)


def _announce(api: API, found: PrefectFile, folder: Path, workers: Workers) -> None:
    """Print where the UI is and what it offers; the password only to a terminal, never to a log."""
    from flows.adapters.prefect_settings_adapter import ui_address  # imports Prefect

    address = api.url.removesuffix("/api") if api.server else ui_address()
    write_atomically(folder / ADDRESS, f"{address} (process {os.getpid()})\n")
    lines = [f"Prefect's UI: {address}"]
    if api.server is not None:
        lines += [f"password: {_password_or_where(folder / PASSWORD)}"]
    lines += [f"deployments: {', '.join(each.full_name for each in found.deployments)}"]
    lines += [*(f"log of the runs: {log}" for log in workers), "Ctrl-C ends all of it, runs too"]
    say("\n".join(lines))


def _password_or_where(kept: Path) -> str:
    """Return the password on a terminal, else which file or variable holds it."""
    password = os.environ[SERVER_PASSWORD]
    if sys.stdout.isatty():
        return password
    is_kept = kept.exists() and kept.read_text(encoding="utf-8").strip() == password
    return f"in {kept}" if is_kept else f"in {SERVER_PASSWORD}"


if __name__ == "__main__":
    sys.exit(main())
