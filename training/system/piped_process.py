"""A Python process of ours that answers requests through pipes, a line for each."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from preprocess.roots import CHECKOUT
from training.system.processes import signal_name

POLL_S = 0.5
END_S = 1.0
CHUNK = 65536

Process = subprocess.Popen[bytes]


@dataclass(eq=False)
class PipedProcess:
    """A module of ours that runs as a program, and takes requests from its standard input."""

    process: Process
    stdin: IO[bytes]
    stdout: IO[bytes]

    def ask(self, request: bytes, poll: Callable[[Process], None]) -> bytes:
        """Send a line and return the answer, empty when the process ended without one.

        Calls `poll` every POLL_S while it waits.
        """
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(request + b"\n")
            self.stdin.flush()
        answer, readable = b"", select.poll()
        readable.register(self.stdout, select.POLLIN)
        while not answer.endswith(b"\n"):
            if not readable.poll(POLL_S * 1000):
                poll(self.process)
            elif read := os.read(self.stdout.fileno(), CHUNK):
                answer += read
            else:
                return b""
        return answer

    def close(self) -> None:
        """Close its input, which ends one that waits for a request; kill any other."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def how_it_ended(self) -> str:
        """Return how the process has ended, once it is closed: `was ended by SIGKILL`."""
        status = self.process.returncode
        return (
            f"was ended by {signal_name(status)}" if status < 0 else f"ended with status {status}"
        )


def start_piped(
    module: str,
    *arguments: str,
    stderr: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> PipedProcess:
    """Start a module in a session of its own: a terminal's Ctrl-C is for us to handle.

    What it says of its own faults goes to `stderr`, else to ours. Raises OSError.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )
    if process.stdin is None or process.stdout is None:
        raise ValueError("started without pipes")
    return PipedProcess(process, process.stdin, process.stdout)
