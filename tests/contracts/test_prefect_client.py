"""What `prefect_client_adapter` relies on: Prefect's HTTP client, its send and its retries."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import httpx
import pytest
from prefect import get_client
from prefect.client.base import PrefectHttpxSyncClient
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.adapters.prefect_client_adapter import takes_changes
from flows.runner.silent_server import give_up_if_silent
from flows.server.managed import given_up

RUN = FlowRun(id=uuid4(), flow_id=uuid4(), name="exp")
CHANGES = []


class Server(BaseHTTPRequestHandler):
    """Answers changes with the server's `status`."""

    def do_GET(self) -> None:
        self.answer(404)  # no CSRF tokens

    def do_PATCH(self) -> None:
        CHANGES.append(self.path)
        if self.server.status == 0:
            time.sleep(1)
        self.answer(self.server.status or 204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch):
    """A server of Prefect's API on a port of its own, which this thread's client talks to."""
    CHANGES.clear()
    monkeypatch.setattr(PrefectHttpxSyncClient, "send", PrefectHttpxSyncClient.send)  # put back
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{made.server_port}/api"}):
            yield made
        made.shutdown()
    given_up.clear()


@pytest.mark.parametrize(
    ("status", "takes"), [(204, True), (404, True), (500, False), (503, False), (0, False)]
)
def test_a_server_takes_changes_or_not_by_one_answer(server, status, takes):
    """A run that is unknown is an answer; an error, and silence (0), are none: asked once."""
    server.status = status
    assert takes_changes(RUN, 0.3 if status == 0 else 5.0) is takes
    (change,) = CHANGES
    assert change == f"/api/flow_runs/{RUN.id}"


def test_where_nobody_listens_no_change_is_taken(server):
    """Not an exception."""
    server.server_close()
    assert not takes_changes(RUN, 5.0)


def test_a_silent_server_is_given_up_at_a_runs_end_and_no_other(server):
    """Then every request fails at once, also of clients that were made before."""
    server.status = 204
    with get_client(sync_client=True) as client:
        give_up_if_silent(RUN, patience_s=0.0)
        assert not given_up.is_set()
        server.status = 503
        give_up_if_silent(RUN, patience_s=0.0)
        assert given_up.is_set()
        CHANGES.clear()
        with pytest.raises(httpx.ConnectError, match="silent for 0 s"):
            client.update_flow_run(RUN.id, name="other")
        assert not CHANGES
