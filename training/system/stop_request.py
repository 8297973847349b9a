"""Stop requests: the first lets trainers write a checkpoint, the second ends them at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """A request to stop: set in a signal handler, read by the threads that run scenes."""

    def __init__(self) -> None:
        self._level = 0

    @property
    def level(self) -> int:
        """0: no request; 1: stop; 2: stop at once."""
        return self._level

    def request(self) -> None:
        """Raise the level by one: the second request means to stop at once."""
        self._level = min(2, self._level + 1)

    def request_once(self) -> None:
        """Raise the level to 1; repeating it changes nothing."""
        self._level = max(1, self._level)


@contextmanager
def stop_on_signals(on_first: Callable[[], None]) -> Iterator[StopRequest]:
    """Yield a StopRequest that SIGINT, SIGTERM and SIGHUP set while the block runs.

    `on_first` is called before the level is raised for the first time. It runs inside the signal
    handler, possibly more than once: it must take no lock and print nothing.
    """
    stop = StopRequest()

    def handle() -> None:
        if stop.level == 0:
            on_first()
        stop.request()

    with handle_stop_signals(handle):
        yield stop


@contextmanager
def handle_stop_signals(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` on SIGINT, SIGTERM and SIGHUP while the block runs; main thread only.

    A signal that is ignored (nohup) stays ignored.
    """
    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, lambda *_: handle()) for number in caught}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
