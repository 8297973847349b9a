"""Requests to a server that is busy for a while."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployments import api_client


@pytest.fixture
def busy_server():
    """Answers 503 as often as it is told to; remembers the bodies."""

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self):
            server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(503 if len(server.bodies) <= server.busy else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.bodies, server.busy = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(busy_server, monkeypatch):
    """One request through the client, without a Prefect server's checks."""
    monkeypatch.setattr(api_client, "check_reachable", lambda *_: None)
    monkeypatch.setattr(api_client, "check_password", lambda *_: None)
    monkeypatch.setattr(api_client, "ASK_AGAIN_S", 0.01)

    def patch() -> int:
        url = f"http://127.0.0.1:{busy_server.server_port}"
        with api_client.api_client({"PREFECT_API_URL": url}) as opened:
            return opened.patch("/x", json={"a": 1}).status_code

    return patch


def test_a_busy_server_is_asked_again_with_the_same_body(busy_server, ask):
    """Prefect's answer while SQLite is locked."""
    busy_server.busy = 2
    assert ask() == 204
    assert busy_server.bodies == [b'{"a":1}'] * 3


def test_a_server_that_stays_busy_is_given_up(busy_server, ask, monkeypatch):
    """The caller sees its answer."""
    busy_server.busy = 1_000_000
    monkeypatch.setattr(api_client, "BUSY_S", 0.05)
    assert ask() == 503
