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

    def check(self) -> None:
        """Raise KeyboardInterrupt if the user has asked, but a library has swallowed it.

        What compiled code calls back, as while Prefect is imported, is such a place.
        """
        if self.count:
            raise KeyboardInterrupt

    @contextmanager
    def keep_interrupts(self) -> Iterator[None]:
        """Raise KeyboardInterrupt again where a library has made an error of its own of it.

        Pydantic does, where the signal comes while it serialises, as Prefect its settings.
        """
        try:
            yield
        except Exception as error:
            if self.count:
                raise KeyboardInterrupt from error
            raise


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
