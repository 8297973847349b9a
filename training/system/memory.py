"""Make many objects at once without pauses for garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pause Python's collection of reference cycles inside a `with` block.

    It looks through all objects again and again while ten thousand records or plans of scenes are
    made, which takes longer than to make them. Reference counts free objects as before.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
