"""A request to stop: the first lets trainers write a checkpoint, the second ends them at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Set from a signal handler, read by the threads that run scenes."""

    def __init__(self) -> None:
        self._level = 0

    @property
    def level(self) -> int:
        """0: go on; 1: stop; 2: stop at once."""
        return self._level

    def request(self) -> None:
        """Ask to stop, or, a second time, to stop at once."""
        self._level = min(2, self._level + 1)

    def request_once(self) -> None:
        """Ask to stop, unless that was asked already: for who can't tell whether it was."""
        self._level = max(1, self._level)


@contextmanager
def stop_on_signals(on_first: Callable[[], None]) -> Iterator[StopRequest]:
    """A request that SIGINT, SIGTERM and SIGHUP set; `on_first` runs before anything is stopped.

    It runs inside the signal's handler, maybe more than once: it must take no lock and print
    nothing.
    """
    stop = StopRequest()

    def handle() -> None:
        if stop.level == 0:
            on_first()
        stop.request()

    with handling_stops(handle):
        yield stop


@contextmanager
def handling_stops(handle: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP call `handle`, in the main thread.

    A signal that is ignored (nohup) stays ignored.
    """
    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, lambda *_: handle()) for number in caught}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
