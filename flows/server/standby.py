"""A server of ours that imports Prefect while the command still reads options and makes the plan.

It creates nothing and listens nowhere until it is given its settings, socket and locks. Light to
import.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from flows.server.settings import API_URL, HOME, forbid_tracking
from preprocess.roots import CHECKOUT

MODULE = "flows.server.process"
STANDBY = "standby"
STARTS_NO_FLOW = {"--dry-run", "--status", "--watch", "--logs", "--cancel", "--help", "-h"}
MOST_FDS = 8
LENGTH_BYTES = 8
TAKE_S = 20.0
"""It takes what it is sent once it has imported; a longer text than the kernel keeps waits."""


class Standby:
    """A process of `flows.server.process` that waits for what it shall serve with."""

    def __init__(self) -> None:
        forbid_tracking()
        self._connection, its_end = socket.socketpair()
        self._connection.settimeout(TAKE_S)
        with its_end:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(os.getpid()), STANDBY],
                cwd=CHECKOUT,
                env=os.environ | {HOME: os.sep},  # importing Prefect would create its home
                stdin=its_end.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def serve(self, variables: Mapping[str, str], fds: Sequence[int]) -> bool:
        """Have it serve with these variables; return False when it can't any more.

        `fds` are those of its log and its socket, and the locks that it holds while it lives.
        """
        text = json.dumps(dict(variables)).encode()
        try:
            socket.send_fds(self._connection, [len(text).to_bytes(LENGTH_BYTES, "big")], list(fds))
            self._connection.sendall(text)
        except OSError:
            return False
        self._connection.close()
        return True

    def end_unused(self) -> None:
        """End the process at once, unless it serves."""
        if self._connection.fileno() != -1:
            self._connection.close()
            self.process.kill()
            self.process.wait()


_ahead: list[Standby] = []
"""The one that was started before the command's own imports."""


def start_ahead(arguments: Sequence[str]) -> None:
    """Start one for the next `standby_server` with these arguments."""
    _ahead.extend(_standby_for(arguments))


@contextmanager
def standby_server(arguments: Sequence[str]) -> Iterator[Standby | None]:
    """Have one for a command that may start a flow, and end it when the flow did without.

    None for arguments that start no flow, and where the user names a server.
    """
    found = _ahead.pop() if _ahead else next(_standby_for(arguments), None)
    try:
        yield found
    finally:
        if found:
            found.end_unused()


def _standby_for(arguments: Sequence[str]) -> Iterator[Standby]:
    if STARTS_NO_FLOW.isdisjoint(arguments) and not os.environ.get(API_URL):
        yield Standby()


def wait_for_orders() -> socket.socket | None:
    """Take over what `Standby.serve` sends to standard input; return the socket to serve on.

    None when the other end is closed without a word.
    """
    with socket.socket(fileno=os.dup(0)) as connection, connection.makefile("rb") as stream:
        head, fds, _, _ = socket.recv_fds(connection, LENGTH_BYTES, MOST_FDS)
        if not head:
            return None
        variables = json.loads(stream.read(int.from_bytes(head, "big")))
    log, listening, *_ = fds
    for stream_fd in (1, 2):
        os.dup2(log, stream_fd)
    os.environ.clear()
    os.environ.update(variables)
    return socket.socket(fileno=listening)
