"""When a flow stops because of what the server says of its run."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Running

from flows.runner import run_watch
from training.system.stop_request import handle_stop_signals

RUN = SimpleNamespace(id=uuid4(), flow_id=uuid4())
BEGAN = datetime.now(UTC)
GONE = ObjectNotFound(None)


def answering(monkeypatch, *answers, flow=None, log=()):
    """Have the server give a run these states, one a request, or the requests fail.

    `flow`: how the request for the run's flow fails; `log`: its log from before it began.
    """
    left = iter(answers)

    def read_flow_run(_):
        return SimpleNamespace(state=given(next(left, answers[-1])))

    def read_logs(wanted, limit):
        assert (wanted.flow_run_id.any_, wanted.timestamp.before_, limit) == ([RUN.id], BEGAN, 1)
        return given(log)

    client = SimpleNamespace(
        read_flow_run=read_flow_run, read_flow=lambda _: given(flow), read_logs=read_logs
    )
    client = nullcontext(client)
    monkeypatch.setattr(run_watch, "get_client", lambda **_: client)


def given(answer):
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.mark.parametrize(
    ("answers", "flow", "log", "reason"),
    [
        ([Running()], None, (), ""),
        ([Cancelling()], None, (), "is cancelled"),
        ([GONE], None, (), "was deleted"),
        ([GONE], GONE, ("a line",), "was deleted"),
        ([httpx.ConnectError("away")], None, (), ""),
        ([GONE], GONE, (), ""),
        ([GONE, Running()], None, (), ""),
        ([GONE, Running()], GONE, ("a line",), ""),
        ([GONE], httpx.ConnectError("away"), (), ""),
        ([GONE], GONE, httpx.ConnectError("away"), ""),
    ],
)
def test_a_deleted_or_cancelled_run_is_a_reason(monkeypatch, answers, flow, log, reason):
    """A run that was deleted with its flow, too.

    None is a server that is away, that has lost its database, or a proxy that has lost it.
    """
    answering(monkeypatch, *answers, flow=flow, log=log)
    monkeypatch.delenv(run_watch.STARTED_BY_WORKER, raising=False)
    assert run_watch._reason_to_stop(RUN, BEGAN) == reason


@pytest.mark.parametrize(("lines", "reason"), [(1, "was deleted"), (0, "")])
def test_a_run_that_went_with_its_flow_is_told_by_its_log(monkeypatch, lines, reason):
    """With Prefect's own client, and a server that has neither run nor flow."""

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/logs/filter"):
            return httpx.Response(404, json={"detail": "not found"})
        line = {"name": "a", "level": 20, "message": "b", "timestamp": str(BEGAN)}
        return httpx.Response(200, json=[line] * lines)

    given = {"transport": httpx.MockTransport(answer)}
    client = SyncPrefectClient("http://server/api", httpx_settings=given)
    monkeypatch.setattr(run_watch, "get_client", lambda **_: client)
    assert run_watch._reason_to_stop(RUN, BEGAN) == reason


def test_a_process_worker_passes_a_cancel_on_by_itself(monkeypatch):
    """Twice would end trainers without their grace."""
    answering(monkeypatch, Cancelling())
    monkeypatch.setenv(run_watch.STARTED_BY_WORKER, "x")
    assert run_watch._reason_to_stop(RUN, BEGAN) == ""


def test_the_flow_gets_one_request_to_stop(monkeypatch, eventually):
    """As by `kill`; none after the flow's end."""
    answering(monkeypatch, GONE)
    monkeypatch.setattr(run_watch, "WATCH_EVERY_S", 0.01)
    got = []
    with handle_stop_signals(lambda: got.append(signal.SIGTERM)):
        with run_watch.stop_with_run(RUN):
            eventually(lambda: got, "the signal")
        assert got == [signal.SIGTERM]
