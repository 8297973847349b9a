"""Contracts: what our code uses of a library beyond its documented interface.

A contract that breaks names the library, its version, the symbol, and what of ours needs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import pytest


@contextmanager
def contract(library: str, symbol: str, needed_by: str, purpose: str) -> Iterator[None]:
    """Fail the test with those names when anything inside fails."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # any failure breaks the contract
        what = f"{library} {version(library)} has changed {symbol}: {needed_by} needs it {purpose}"
        pytest.fail(f"{what}\n({type(error).__name__}: {error})")


def accepts(function, *args, **kwargs) -> bool:
    """Whether a function can be called like this; raises TypeError if not."""
    return bool(inspect.signature(function).bind(*args, **kwargs))
