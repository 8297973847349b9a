"""The launcher's side of supervisors: start them, send them scenes, take their outcomes.

Each thread that runs scenes keeps its supervisor for the next scene: importing its modules costs a
supervisor more time than all else that a scene costs us.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from preprocess.roots import CHECKOUT
from training.plan.model import ScenePlan
from training.system.processes import signal_name

SUPERVISOR = "training.execution.supervisor"
POLL_S = 0.5
END_S = 1.0
CHUNK = 65536

Process = subprocess.Popen[bytes]


@dataclass(eq=False)
class Supervisor:
    """A process of `training.execution.supervisor`.

    The kernel ties it to the thread that started it: that thread must live on.
    """

    process: Process
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    """A temporary file with what it says of its own faults."""

    def run(self, plan: ScenePlan, poll: Callable[[Process], None]) -> bytes:
        """Send a scene and return its outcome as JSON, empty when the process ended without one.

        Calls `poll` every POLL_S while it waits.
        """
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(plan.model_dump_json().encode() + b"\n")
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

    def end(self) -> str:
        """End the process if it has not ended, and return a sentence with its last output."""
        self.close()
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        status = self.process.returncode
        how = f"was ended by {signal_name(status)}" if status < 0 else f"ended with status {status}"
        return f"its supervisor (process {self.process.pid}) {how}{last}"

    def close(self) -> None:
        """Close its input, which ends one that waits for a scene; kill any other."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    __del__ = close


class _ThreadLocal(threading.local):
    """This thread's supervisor between two scenes; it is closed when the thread has ended."""

    supervisor: Supervisor | None = None


_this_thread = _ThreadLocal()


def take_supervisor() -> Supervisor:
    """Return the supervisor that this thread has kept, or a new one if it has none that lives."""
    kept, _this_thread.supervisor = _this_thread.supervisor, None
    return kept if kept is not None and kept.process.poll() is None else _start()


def keep_supervisor(supervisor: Supervisor) -> None:
    """Keep a supervisor for the next scene of this thread."""
    _this_thread.supervisor = supervisor


def _start() -> Supervisor:
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
    process = subprocess.Popen(
        [sys.executable, "-m", SUPERVISOR, str(os.getpid())],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,  # a terminal's Ctrl-C is the launcher's to handle
    )
    if process.stdin is None or process.stdout is None:
        raise ValueError("started without pipes")
    return Supervisor(process, process.stdin, process.stdout, stderr)
