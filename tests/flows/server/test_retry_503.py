"""A server of ours asks its busy database again: nobody at a form is told "Unknown error"."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from flows.server import retry_503
from flows.server.retry_503 import AskedAgain


class Busy:
    """An application that answers 503 a few times, then says what it was told."""

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
        transport = httpx.ASGITransport(AskedAgain(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, "/", content=b"a run")

    return asyncio.run(asked())


def test_a_busy_database_is_asked_again():
    """With the same words, and only the last answer is heard."""
    app = Busy(2)
    answer = ask(app, "POST")
    assert (answer.status_code, answer.content, app.calls) == (201, b"a run", 3)


def test_a_question_after_health_is_answered_at_once():
    """A GET is what asks whether the server is ready."""
    app = Busy(1)
    assert ask(app, "GET").status_code == 503
    assert app.calls == 1


def test_patience_ends(monkeypatch):
    """Then whoever asked hears that the database is busy."""
    monkeypatch.setattr(retry_503, "PATIENCE_S", 0.3)
    assert ask(Busy(1_000_000), "POST").status_code == 503


@pytest.mark.parametrize("fault", [ValueError, KeyError])
def test_other_faults_pass(fault):
    """They are not ours."""

    async def app(*_):
        raise fault

    with pytest.raises(fault):
        ask(app, "POST")
