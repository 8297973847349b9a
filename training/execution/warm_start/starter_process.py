"""A starter as its supervisor sees it: a process, a socket to ask on, and answers."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from training.system.processes import die_with_parent

PROGRAM = Path(__file__).with_name("starter.py")
CHUNK = 65536


class StarterProcess:
    """A process of `starter.py`, which imports nothing before its first request.

    The kernel ends it with the thread that has started it.
    """

    def __init__(self, python: str, environment: Mapping[str, str], log: IO[bytes]) -> None:
        """Start it as the trainer of a scene would be started; raises OSError."""
        self.served = 0
        """Number of requests that it has got."""
        self._control, its_end = socket.socketpair()
        with its_end:
            self._process = subprocess.Popen(
                [python, str(PROGRAM), str(its_end.fileno())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[its_end.fileno()],
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lives(self) -> bool:
        """Return whether it has not ended."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], log: IO[bytes]) -> Answer:
        """Ask for a process that runs a scene; raises OSError when the starter is dead."""
        answer, its_end = socket.socketpair()
        with its_end, tempfile.TemporaryFile() as content:
            content.write(json.dumps(request).encode())
            content.seek(0)  # also flushes
            descriptors = [content.fileno(), log.fileno(), its_end.fileno()]
            try:
                socket.send_fds(self._control, [b"?"], descriptors)
            except OSError:
                answer.close()
                raise
        return Answer(answer)

    def close(self) -> None:
        """End it at once; scenes that it has started go on."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class Answer:
    """What a starter answers, once it does."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._read = b""

    def read(self, timeout_s: float = 0.0) -> dict[str, Any] | None:
        """Return the answer, empty when the starter ended without one; None: not yet."""
        self._socket.settimeout(timeout_s)
        while not self._read.endswith(b"\n"):
            try:
                read = self._socket.recv(CHUNK)
            except (BlockingIOError, TimeoutError):
                return None
            except ConnectionError:
                read = b""
            if not read:
                self._socket.close()
                return {}
            self._read += read
        self._socket.close()
        found: dict[str, Any] = json.loads(self._read)
        return found


def _end_with_parent() -> None:
    die_with_parent(signal.SIGKILL)
