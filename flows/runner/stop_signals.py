"""Requests to stop a flow: the first one interrupts it, later ones are only counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from training.system.stop_request import handle_stop_signals


class StopCount:
    """How often the user has asked to stop."""

    count = 0

    @property
    def is_repeated(self) -> bool:
        """Whether the user asked more than once: everything is to end at once."""
        return self.count > 1


@contextmanager
def first_stop_interrupts() -> Iterator[StopCount]:
    """Raise KeyboardInterrupt at the first SIGINT, SIGTERM or SIGHUP, and only count the others.

    So a second Ctrl-C never interrupts the closing of a cluster. A signal that is ignored (nohup)
    stays ignored. While a flow runs Prefect handles SIGTERM itself and raises TerminationSignal.
    """
    stops = StopCount()

    def handle() -> None:
        stops.count += 1
        if stops.count == 1:
            raise KeyboardInterrupt

    with handle_stop_signals(handle):
        yield stops
