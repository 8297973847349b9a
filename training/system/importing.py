"""Import large libraries in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """Import large libraries without looking for garbage meanwhile: they leave next to none.

    It saves about a sixth of the CPU time that importing Prefect and its server takes. What is
    there afterwards is left out of later collections, the one at the interpreter's end included.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
