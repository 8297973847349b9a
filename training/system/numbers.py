"""Numbers that were read from files which any program may have written."""

from __future__ import annotations

from typing import TypeGuard

LARGEST = 1e100
"""Numbers beyond it are no measurement, and their sums overflow."""


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value can be shown, added and averaged: no truth value, NaN or infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
