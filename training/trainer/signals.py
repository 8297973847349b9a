"""SIGTERM and SIGUSR1: noted when they come, obeyed between two iterations."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType

TERMINATED = 128 + signal.SIGTERM


@dataclass
class Requests:
    """What was asked from outside since the last look."""

    stop: bool = False
    save: bool = False

    def listen(self) -> None:
        """Note SIGTERM (save and stop) and SIGUSR1 (save and go on) from now on."""
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGUSR1, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.save = True
        self.stop = self.stop or number == signal.SIGTERM
