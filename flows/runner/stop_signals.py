"""Requests to stop a flow: the first interrupts it, later ones are counted and end it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from training.system.stop_request import handling_stops


class Stops:
    """How often a stop was asked for."""

    count = 0

    @property
    def urgent(self) -> bool:
        """Asked for a second time."""
        return self.count > 1


@contextmanager
def first_stop_interrupts() -> Iterator[Stops]:
    """Raise KeyboardInterrupt at the first SIGINT, SIGTERM or SIGHUP, and only count the others.

    So a second Ctrl-C never breaks into the closing of a cluster. A signal that is ignored (nohup)
    stays ignored. Prefect takes SIGTERM for itself while a flow runs, and raises TerminationSignal.
    """
    stops = Stops()

    def handle() -> None:
        stops.count += 1
        if stops.count == 1:
            raise KeyboardInterrupt

    with handling_stops(handle):
        yield stops
