"""A Prefect server of ours: `python -m flows.server.process PARENT_PID SOCKET_FD|standby [ui]`.

Prefect's own temporary server outlives a killed flow and goes on writing to its database. This one
ends with the process that started it, and it takes a socket that is bound already, so that nobody
else can get the port first and be handed the password.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from flows.server.retry_503 import RetryWhileBusy
from flows.server.standby import STANDBY, wait_for_orders
from training.system.exit_status import DONE, FAILED
from training.system.importing import without_collecting
from training.system.processes import die_with_parent

SHUTDOWN_S = 3
ORPHAN_S = 10
WITH_UI = "ui"


def main(argv: list[str]) -> int:
    """Serve until told to stop; with `ui`, the UI and schedules too. Settings are variables.

    With `standby` in place of a socket, import first and wait for what to serve with.
    """
    # A flow in a Slurm job is not to hear Slurm's SIGTERM; its server ends by one.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    parent, is_standby, with_ui = int(argv[0]), argv[1] == STANDBY, WITH_UI in argv[2:]
    die_with_parent(_delayed_end_signal() if with_ui else signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel knew that its signal is wanted
        return FAILED
    listening = _import_and_wait() if is_standby else socket.socket(fileno=int(argv[1]))
    if listening is None:
        return DONE
    with without_collecting():
        import uvicorn

        from flows.adapters.prefect_process_adapter import server_application

        app = RetryWhileBusy(server_application(with_ui=with_ui))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=SHUTDOWN_S)
    uvicorn.Server(config).run(sockets=[listening])
    return DONE


def _import_and_wait() -> socket.socket | None:
    """Import what takes a server seconds, then return the socket to serve on, with new settings."""
    with without_collecting():
        from flows.adapters.prefect_process_adapter import import_server
        from flows.adapters.prefect_settings_adapter import read_settings_again

        import_server()
    listening = wait_for_orders()
    if listening is not None:
        read_settings_again()
    return listening


def _delayed_end_signal() -> signal.Signals:
    """Return a signal that ends this process `ORPHAN_S` later.

    Meanwhile the flow runs of a killed `deployments.serve` can still report how they end.
    """
    # It comes once for each thread of the killed process; an alarm may be set again.
    signal.signal(signal.SIGUSR1, lambda *_: signal.alarm(ORPHAN_S))
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    return signal.SIGUSR1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
