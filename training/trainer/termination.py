"""How a run ends before its end: by an error, or by a signal that asks it to stop."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType


class TrainingError(Exception):
    """The run can't go on; the message tells the user what happened and what to do."""


class Terminated(Exception):  # noqa: N818 - not an error: the run did what SIGTERM asks for
    """The run stops because of SIGTERM; what is needed to resume it has been written."""


@dataclass
class SignalRequests:
    """What signals have asked for and the run has not done yet.

    A handler only sets a flag: the run acts between two iterations, where its state is consistent.
    """

    stop: bool = False
    save: bool = False

    def install_handlers(self) -> None:
        """Handle SIGTERM (save and stop) and SIGUSR1 (save and go on) from now on."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGUSR1, self._handle)

    def stop_if_asked(self, *_: object) -> None:
        """Raise Terminated where SIGTERM has come and nothing has to be saved first."""
        if self.stop:
            raise Terminated

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.save = True
        self.stop = self.stop or number == signal.SIGTERM
