"""Choose the viewer of a launch: a live display on a terminal that can redraw, else lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from training.display.lines import Lines
from training.plan.model import Plan

_open_viewers: list[Lines] = []
"""Viewers on this process's terminal, the newest last."""


@contextmanager
def terminal(plan: Plan) -> Iterator[Lines]:
    """Open a viewer on this process's terminal until the end of the block."""
    viewer = _live_display(plan) or Lines(len(plan.of("run")))
    _open_viewers.append(viewer)
    try:
        yield viewer
    finally:
        _open_viewers.remove(viewer)
        viewer.close()


def viewer_of(plan: Plan) -> Lines:
    """Return the viewer that `terminal` has opened, plain lines where it has opened none.

    None is open in a flow run that Prefect started: it shares its terminal with other runs.
    """
    return _open_viewers[-1] if _open_viewers else Lines(len(plan.of("run")))


def _live_display(plan: Plan) -> Lines | None:
    if not (sys.stdout and sys.stdout.isatty()):  # None where it was closed
        return None
    from training.display.live import live_display

    return live_display(plan)
