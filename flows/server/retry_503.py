"""A server of ours asks its busy database again, instead of leaving that to whoever asked.

SQLite refuses a transaction that began with reading when another has written meanwhile. Prefect
then answers 503; its own clients ask again, but its UI says "Unknown error" to whoever has just
submitted the form.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

PATIENCE_S = 20.0
ASK_AGAIN_S = 0.25

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class BusyError(Exception):
    """The database was busy; nothing has been changed, and nothing answered."""


class AskedAgain:
    """An ASGI application whose answers 503 to anything but a plain GET are asked for again."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                await self._app(dict(scope), _said_again(body, receive), _unless_busy(send))
            except BusyError:
                await asyncio.sleep(ASK_AGAIN_S)
            else:
                return
        await self._app(scope, _said_again(body, receive), send)


async def _body(receive: Receive) -> list[Message]:
    """All that a client has to say, up to its end or the client's."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _said_again(body: list[Message], receive: Receive) -> Receive:
    rest = iter(body)

    async def said() -> Message:
        message = next(rest, None)
        return message if message is not None else await receive()

    return said


def _unless_busy(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message.get("status") == HTTPStatus.SERVICE_UNAVAILABLE:
            raise BusyError
        await send(message)

    return sent
