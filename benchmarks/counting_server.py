"""Our Prefect server, which also counts what is written: `… counting_server PARENT_PID SOCKET_FD`.

Counted are requests that change something and messages on its sockets for events and logs. `GET
/written` answers with the number so far.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

WRITTEN = "/written"
READS = {"filter", "count", "paginate", "history", "lateness", "read", "get_scheduled_flow_runs"}
"""Last parts of paths whose POST only reads."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def is_write(method: str, path: str) -> bool:
    """Return whether a request to Prefect's API changes something."""
    return method not in {"GET", "HEAD", "OPTIONS"} and not READS & set(path.split("/"))


class CountWrites:
    """An ASGI application that counts the writes to another one."""

    def __init__(self, app: App) -> None:
        self.app, self.written = app, 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one socket, by ASGI's protocol."""
        if scope["type"] == "http" and scope["path"] == WRITTEN:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(self.written).encode()})
            return
        if scope["type"] == "http":
            self.written += is_write(scope["method"], scope["path"])

        async def counted() -> Message:
            message = await receive()
            self.written += message["type"] == "websocket.receive"
            return message

        await self.app(scope, counted, send)


def main(parent: int, listening: socket.socket) -> None:
    """Serve until told to stop, or until the parent is gone."""
    import uvicorn

    from flows.adapters.prefect_process_adapter import server_application
    from flows.server.retry_503 import RetryWhileBusy
    from training.system.processes import die_with_parent

    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        return
    app = CountWrites(RetryWhileBusy(server_application(with_ui=False)))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
