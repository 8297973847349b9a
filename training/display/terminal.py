"""Choose what shows a launch on this terminal: a live display where it can move its cursor, else lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from training.display.lines import Lines
from training.plan.model import Plan

_shown: list[Lines] = []
"""What shows a launch on this process's terminal: it has one."""


@contextmanager
def terminal(plan: Plan) -> Iterator[Lines]:
    """What shows a launch on this process's terminal, until the end of the block."""
    viewer = _live_display(plan) or Lines(len(plan.of("run")))
    _shown.append(viewer)
    try:
        yield viewer
    finally:
        _shown.remove(viewer)
        viewer.close()


def viewer_of(plan: Plan) -> Lines:
    """What `terminal` has opened; plain lines in a process that shares its terminal with others."""
    return _shown[-1] if _shown else Lines(len(plan.of("run")))


def _live_display(plan: Plan) -> Lines | None:
    if not (sys.stdout and sys.stdout.isatty()):  # None where it was closed
        return None
    from training.display.live_layout import live_display

    return live_display(plan)
