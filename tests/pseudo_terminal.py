"""A terminal for a program under test, and what a person sees on it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyte

HISTORY = 2000


class PseudoTerminal:
    """A program on a terminal of its own, which is its controlling one, and the screen."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        size: tuple[int, int] = (100, 24),
        **more: Any,
    ) -> None:
        self.screen = pyte.HistoryScreen(*size, history=HISTORY, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.raw = b""
        self._ours, theirs = os.openpty()
        self.resize(*size)
        # pytest's workers inherit a size of another terminal, which readline has exported
        inherited = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES"}}
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **more}
        self.process = subprocess.Popen(
            command,
            env={**inherited, "TERM": "xterm", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # one call
            **streams,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        with self._lock:
            self.screen.resize(lines, columns)

    def write(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def _read(self) -> None:
        while not self._closed.is_set():
            if not select.select([self._ours], [], [], 0.1)[0]:
                continue
            try:
                new = os.read(self._ours, 65536)
            except OSError:  # all that had the terminal have ended
                return
            if not new:
                return
            with self._lock:
                self.raw += new
                self._stream.feed(new)

    @property
    def seen(self) -> str:
        """The screen's lines."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    @property
    def all(self) -> str:
        """What a person who scrolls up sees too."""
        with self._lock:
            width = self.screen.columns
            rows = [[line[x].data for x in range(width)] for line in self.screen.history.top]
            above = ["".join(row).rstrip() for row in rows]
        return "\n".join([*above, self.seen])

    def wait(self, timeout_s: float = 60) -> int:
        """The exit status, once all that was written is on the screen."""
        status = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return status

    def hang_up(self) -> None:
        """The window is closed: what is written from now on fails."""
        self._closed.set()
        self._reader.join(30)
        os.close(self._ours)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
        if not self._closed.is_set():
            self.hang_up()


@contextmanager
def terminals() -> Iterator[Callable[..., PseudoTerminal]]:
    """Opens terminals, and closes them at the end; pytest shows beside a failure what they said."""
    opened: list[PseudoTerminal] = []

    def open_one(*arguments: Any, **more: Any) -> PseudoTerminal:
        opened.append(PseudoTerminal(*arguments, **more))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()
        print(terminal.all)
