"""When a flow stops because of what the server says of its run."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Running

from flows.runner import run_watch
from training.system.stop_request import handle_stop_signals


def answering(monkeypatch, state=None, error=None):
    """Have the server give a run this state, or the request fail."""

    def read_flow_run(_):
        if error:
            raise error
        return SimpleNamespace(state=state)

    client = nullcontext(SimpleNamespace(read_flow_run=read_flow_run))
    monkeypatch.setattr(run_watch, "get_client", lambda **_: client)


@pytest.mark.parametrize(
    ("state", "error", "reason"),
    [
        (Running(), None, ""),
        (Cancelling(), None, "is cancelled"),
        (None, ObjectNotFound(None), "was deleted"),
        (None, httpx.ConnectError("away"), ""),
    ],
)
def test_a_deleted_or_cancelled_run_is_a_reason(monkeypatch, state, error, reason):
    """A server that is away is none."""
    answering(monkeypatch, state, error)
    monkeypatch.delenv(run_watch.STARTED_BY_WORKER, raising=False)
    assert run_watch._reason_to_stop(uuid4()) == reason


def test_a_process_worker_passes_a_cancel_on_by_itself(monkeypatch):
    """Twice would end trainers without their grace."""
    answering(monkeypatch, Cancelling())
    monkeypatch.setenv(run_watch.STARTED_BY_WORKER, "x")
    assert run_watch._reason_to_stop(uuid4()) == ""


def test_the_flow_gets_one_request_to_stop(monkeypatch, eventually):
    """As by `kill`; none after the flow's end."""
    answering(monkeypatch, error=ObjectNotFound(None))
    monkeypatch.setattr(run_watch, "WATCH_EVERY_S", 0.01)
    got = []
    with handle_stop_signals(lambda: got.append(signal.SIGTERM)):
        with run_watch.stop_with_run(uuid4()):
            eventually(lambda: got, "the signal")
        assert got == [signal.SIGTERM]
