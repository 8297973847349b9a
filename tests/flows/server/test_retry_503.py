"""A server of ours repeats requests while its database is busy: no form says "Unknown error"."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from flows.server import retry_503
from flows.server.retry_503 import RetryWhileBusy


class Busy:
    """An application that answers 503 a few times, then with the request's body."""

    def __init__(self, times: int) -> None:
        self.left, self.calls = times, 0

    async def __call__(self, _scope, receive, send):
        self.calls += 1
        told = await receive()
        status = 503 if self.left > 0 else 201
        self.left -= 1
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": told["body"]})


def ask(app, method: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(RetryWhileBusy(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, "/", content=b"a run")

    return asyncio.run(asked())


def test_a_request_is_repeated_while_the_database_is_busy():
    """With the same body, and only the last answer reaches the client."""
    app = Busy(2)
    answer = ask(app, "POST")
    assert (answer.status_code, answer.content, app.calls) == (201, b"a run", 3)


def test_a_get_is_answered_at_once():
    """It is how clients ask whether the server is ready."""
    app = Busy(1)
    assert ask(app, "GET").status_code == 503
    assert app.calls == 1


def test_patience_ends(monkeypatch):
    """Then the client gets the answer that the database is busy."""
    monkeypatch.setattr(retry_503, "SERVER_PATIENCE_S", 0.3)
    assert ask(Busy(1_000_000), "POST").status_code == 503


@pytest.mark.parametrize("fault", [ValueError, KeyError])
def test_other_faults_pass(fault):
    """What the application raises is not swallowed."""

    async def app(*_):
        raise fault

    with pytest.raises(fault):
        ask(app, "POST")
