"""Requests are repeated while Prefect's database is busy: the policy, and a server that follows it.

SQLite refuses a transaction that began with reading when another one has written meanwhile, and a
lock that it can't get within a minute. Prefect then answers 503, with nothing changed. Its own
clients repeat such a request; its UI says "Unknown error" to the person who submitted the form, so
a server of ours repeats the request itself.

tenacity, not stamina: a 503 is an answer and no exception, and the last answer is to be returned;
stamina retries on exceptions only, and logs each retry as a warning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from tenacity import AsyncRetrying, stop_after_delay, wait_fixed
from tenacity.retry import retry_if_exception_type

SERVER_PATIENCE_S = 20.0
CLIENT_PATIENCE_S = 60.0
"""As long as Prefect's SQLite waits for its lock."""
PAUSE = wait_fixed(0.25)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def is_busy(status: int) -> bool:
    """Return whether an HTTP status says that Prefect's database is busy."""
    return status == HTTPStatus.SERVICE_UNAVAILABLE


class BusyError(Exception):
    """The database was busy: nothing has been changed, and nothing was answered."""


class RetryWhileBusy:
    """An ASGI application that repeats every request but a GET or HEAD while the answer is 503."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, by ASGI's protocol."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(BusyError),
                stop=stop_after_delay(SERVER_PATIENCE_S),
                wait=PAUSE,
                reraise=True,
            ):
                with attempt:
                    await self._app(dict(scope), _replay(body, receive), _raise_if_busy(send))
        except BusyError:  # for too long: the client gets the 503
            await self._app(scope, _replay(body, receive), send)


async def _read_body(receive: Receive) -> list[Message]:
    """Return all messages of a request's body, up to its end or the client's."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _replay(body: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, then what the client sends."""
    rest = iter(body)

    async def replayed() -> Message:
        message = next(rest, None)
        return message if message is not None else await receive()

    return replayed


def _raise_if_busy(send: Send) -> Send:
    """Return a `send` that raises BusyError instead of sending a 503."""

    async def checked(message: Message) -> None:
        if is_busy(message.get("status", 0)):
            raise BusyError
        await send(message)

    return checked
