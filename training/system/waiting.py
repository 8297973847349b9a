"""Say what is awaited where it takes longer than a moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from training.system.console import say

MOMENT_S = 1.0


@contextmanager
def awaited(what: str, after_s: float = MOMENT_S) -> Iterator[None]:
    """Print `what` to standard error once the block has taken longer than `after_s` seconds."""
    timer = threading.Timer(after_s, say, [f"waiting: {what}", sys.stderr])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
