"""The launcher's end of supervisors: each thread that runs scenes keeps one for the next scene.

A supervisor's imports cost more than all else that a scene costs us.
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

SUPERVISOR = "training.execution.supervisor"
POLL_S = 0.5
END_S = 1.0
CHUNK = 65536

Process = subprocess.Popen[bytes]


@dataclass(eq=False)
class Supervisor:
    """A process of `training.execution.supervisor`; the thread that has started it must live on."""

    process: Process
    to: IO[bytes]
    of: IO[bytes]
    words: IO[bytes]
    """What it says of its own faults."""

    def run(self, plan: ScenePlan, meanwhile: Callable[[Process], None]) -> bytes:
        """Give it a scene and take its outcome, as JSON; empty when it has ended before.

        `meanwhile` is called every half second.
        """
        with contextlib.suppress(BrokenPipeError):
            self.to.write(plan.model_dump_json().encode() + b"\n")
            self.to.flush()
        answer, news = b"", select.poll()
        news.register(self.of, select.POLLIN)
        while not answer.endswith(b"\n"):
            if not news.poll(POLL_S * 1000):
                meanwhile(self.process)
            elif read := os.read(self.of.fileno(), CHUNK):
                answer += read
            else:
                return b""
        return answer

    def end(self) -> str:
        """How it has ended, with its last words; one that has not is ended."""
        self.close()
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        return f"its supervisor ended with status {self.process.returncode}{last}"

    def close(self) -> None:
        """Let it go: one that waits for a scene ends by itself, another one is killed."""
        with contextlib.suppress(BrokenPipeError):
            self.to.close()
        self.of.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    __del__ = close


class _Kept(threading.local):
    """This thread's supervisor between two scenes; it is let go with the thread."""

    supervisor: Supervisor | None = None


_kept = _Kept()


def take_supervisor() -> Supervisor:
    """The one that this thread has kept; a new one where it has none, or it has ended."""
    kept, _kept.supervisor = _kept.supervisor, None
    return kept if kept is not None and kept.process.poll() is None else _start()


def keep_supervisor(supervisor: Supervisor) -> None:
    """For this thread's next scene."""
    _kept.supervisor = supervisor


def _start() -> Supervisor:
    words = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
    process = subprocess.Popen(
        [sys.executable, "-m", SUPERVISOR, str(os.getpid())],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        start_new_session=True,  # a terminal's Ctrl-C is the launcher's to handle
    )
    if process.stdin is None or process.stdout is None:
        raise ValueError("started without pipes")
    return Supervisor(process, process.stdin, process.stdout, words)
