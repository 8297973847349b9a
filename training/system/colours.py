"""Colour what a terminal shows by what it means: states, warnings.

There is none in a file, in a pipe, with NO_COLOR and where a terminal knows none; FORCE_COLOR asks
for it there too. rich, which knows how terminals differ, is imported only where there is colour.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from training.system.console import is_terminal

COLOURS = {
    "done": "green4",
    "completed": "green4",
    "running": "deep_sky_blue3",
    "failed": "red1",
    "not done": "red1",
    "cancelled": "dark_orange3",
    "stopping": "dark_orange3",
    "warning": "dark_orange3",
    "queued": "bright_black",
    "waiting": "bright_black",
    "not started": "bright_black",
    "skipped": "bright_black",
    "held": "bright_black",
}
"""rich's names of colours with a contrast of about 4 on white and on black."""
NO_CURSOR = {"", "dumb", "unknown"}
"""Values of TERM that name a terminal which can neither colour nor move its cursor."""


def painted(text: str, meaning: str, stream: TextIO | None = None) -> str:
    """Return the text in the colour of a meaning, by default as standard output shows colours.

    An unknown meaning has none.
    """
    if meaning not in COLOURS or not shows_colours(stream or sys.stdout):
        return text
    from rich.color import ColorSystem
    from rich.style import Style

    system = ColorSystem.EIGHT_BIT if _has_256() else ColorSystem.STANDARD
    return Style.parse(COLOURS[meaning]).render(text, color_system=system)


def shows_colours(stream: TextIO | None) -> bool:
    """Return whether colours are to be written to a stream (no-color.org, force-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or can_redraw(stream)


def can_redraw(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can move its cursor, and shall."""
    if os.environ.get("TTY_INTERACTIVE") == "0":
        return False
    return is_terminal(stream) and os.environ.get("TERM", "").lower() not in NO_CURSOR


def _has_256() -> bool:
    named = os.environ.get("TERM", "") + os.environ.get("COLORTERM", "")
    return any(word in named for word in ("256color", "truecolor", "24bit"))
