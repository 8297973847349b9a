"""Prefect for measurements: a migrated database, and a server that counts what is written to it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import CHECKOUT, run_command

MODULE = "benchmarks.counting_server"


def create_database(home: Path) -> None:
    """Create the database in a PREFECT_HOME: otherwise the first that is measured would."""
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    run_command(command, environment=prefect_environment(home))


def prefect_environment(home: Path) -> dict[str, str]:
    """Return this environment with a PREFECT_HOME, and without any other setting of the user's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    profiles = {"PREFECT_PROFILES_PATH": str(home / "profiles.toml")}
    return {**kept, **profiles, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}


@contextmanager
def counting_server(home: Path) -> Iterator[Callable[[], int]]:
    """Start a server, point this process' Prefect to it, yield what asks it for its writes so far.

    Enter it before Prefect is imported.
    """
    from flows.server.managed import API
    from flows.server.settings import API_URL, CLIENT_PASSWORD, SERVER_PASSWORD

    password = f"bench:{secrets.token_urlsafe(16)}"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        made = {API_URL: f"{address}/api", CLIENT_PASSWORD: password}
        environment = prefect_environment(home) | made
        os.environ.clear()
        os.environ.update(environment)
        log, handle = home / "server.log", str(listening.fileno())
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(os.getpid()), handle],
                cwd=CHECKOUT,
                env={**environment, SERVER_PASSWORD: password},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                pass_fds=(listening.fileno(),),
            )
        api = API(environment[API_URL], process, log)
        try:
            api.wait_until_ready()
            yield lambda: _written(address)
        finally:
            api.stop()


def _written(address: str) -> int:
    import httpx

    from benchmarks.counting_server import WRITTEN

    return int(httpx.get(f"{address}{WRITTEN}", timeout=60).text)
