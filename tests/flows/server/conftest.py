"""Servers to talk to, and a process whose Prefect settings are put back after each test."""

from __future__ import annotations

import base64
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

PASSWORD = "admin:secret"


@pytest.fixture
def environ():
    """This process's variables; they and what Prefect has read of them are restored afterwards."""
    import prefect.context

    before = dict(os.environ)
    found = prefect.context.GLOBAL_SETTINGS_CONTEXT
    yield os.environ
    os.environ.clear()
    os.environ.update(before)
    prefect.context.GLOBAL_SETTINGS_CONTEXT = found


@pytest.fixture
def server():
    """Answers as Prefect does; `server.password` or `server.key` is what it asks for."""

    class Prefect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.is_open() or self.is_allowed() else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def is_open(self) -> bool:
            is_health = self.path.endswith("/health") and not made.key
            return is_health or not (made.password or made.key)

        def is_allowed(self) -> bool:
            token = base64.b64encode(made.password.encode()).decode()
            expected = f"Bearer {made.key}" if made.key else f"Basic {token}"
            return self.headers["Authorization"] == expected

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Prefect) as made:
        made.password, made.key = PASSWORD, ""
        made.url = f"http://127.0.0.1:{made.server_port}/api"
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.shutdown()
