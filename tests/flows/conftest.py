"""Prefect servers of tests that run flows, in this process or in one of their own."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect_database import put_migrated_database


@pytest.fixture
def lab(lab):
    """A lab whose own Prefect server starts with a migrated database."""
    put_migrated_database(Path(lab.environment["PREFECT_HOME"]))
    return lab


@contextmanager
def open_webhook():
    """Yield one: `received` has what was posted, `status` is its answer once `go` is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.go.wait(60)
            made.received.append(body)
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.received, made.status, made.go = [], 200, threading.Event()
        made.go.set()
        made.url = f"json://user:secret-token@127.0.0.1:{made.server_port}/"
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.go.set()
        made.shutdown()


@pytest.fixture
def webhook():
    """A user's webhook."""
    with open_webhook() as made:
        yield made


@pytest.fixture(scope="module")
def module_webhook():
    """A user's webhook that the tests of one file share."""
    with open_webhook() as made:
        yield made


@pytest.fixture(scope="session")
def prefect_server(prefect_api):
    """A client of the tests' server, to which Prefect in this process talks from now on.

    Not by a variable, which the processes of other tests would inherit.
    """
    from prefect.client.orchestration import get_client

    from flows.adapters.prefect_adapter import send_buffered
    from flows.server.settings import API_URL, read_settings

    os.environ[API_URL] = prefect_api.url
    read_settings()
    del os.environ[API_URL]
    with get_client(sync_client=True) as client:
        yield client
    send_buffered(10)
    read_settings()
