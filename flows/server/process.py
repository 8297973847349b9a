"""A Prefect server of ours: `python -m flows.server.process PARENT_PID SOCKET_FD [ui]`.

Prefect's own temporary server outlives a killed flow and goes on writing to its database. This one
ends with the process that started it, and it takes a socket that is bound already, so that nobody
else can get the port first and be handed the password.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from flows.server.retry_503 import AskedAgain
from training.system.processes import die_with_parent

SHUTDOWN_S = 3
LAST_WORDS_S = 10
WITH_UI = "ui"


def main(argv: list[str]) -> int:
    """Serve until told to stop, with `ui` the UI and schedules too; settings are PREFECT_… ones."""
    parent, listening = int(argv[0]), socket.socket(fileno=int(argv[1]))
    die_with_parent(_last_words() if WITH_UI in argv[2:] else signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel knew that we care
        return 1
    import uvicorn
    from prefect.server.api.server import create_app

    app = AskedAgain(create_app(ephemeral=WITH_UI not in argv[2:], final=True))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=SHUTDOWN_S)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _last_words() -> signal.Signals:
    """A signal that ends us a little later: runs of a killed starter still say how they end."""
    # It comes once for each thread of the starter: an alarm may be set again.
    signal.signal(signal.SIGUSR1, lambda *_: signal.alarm(LAST_WORDS_S))
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    return signal.SIGUSR1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
