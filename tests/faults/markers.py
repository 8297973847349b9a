"""Markers of the fault table that several ways share."""

from __future__ import annotations

from typing import Any

import pytest


def parameter(fault: str, way: str, **words: str) -> Any:
    """Return a test's parameter: a fault, marked with its cell."""
    return pytest.param(fault, id=fault, marks=pytest.mark.fault(fault, way, **words))


def stopped(fault: str, way: str, **more: str) -> pytest.MarkDecorator:
    """Return the marker of a run that is stopped on request; `more`: what is left, and so on."""
    return pytest.mark.fault(
        fault,
        way,
        ends="cancelled",
        attempts="cancelled",
        flow="cancelled",
        breakage="a stop on request is a failure",
        **more,
    )
