"""A bar that shows how many scenes are done: for the live part of a launch and for --watch."""

from __future__ import annotations

from dataclasses import dataclass

from training.system.colours import painted
from training.system.text_table import display_width

WIDEST = 100
"""Columns of the bar: a longer one tells no more."""


@dataclass(frozen=True)
class Bar:
    """How many of an experiment's scenes are done, failed and begun."""

    title: str
    total: int
    done: int
    failed: int
    begun: float = 0.0
    """Finished parts of the running scenes, as a number of scenes."""

    def parts(self, width: int, encoding: str = "utf-8") -> list[tuple[str, str]]:
        """Return texts, each with what it means, that fill at most `width` columns.

        Scenes that are cancelled or were not started leave the bar's end empty.
        """
        title, numbers = f"{self.title} ", f" {self.done} of {self.total} done"
        whole = min(WIDEST, width - display_width(title) - len(numbers))
        if whole < 1:
            return [(f"{self.title}{numbers}", "")]
        ends = [self.done + self.begun, self.done + self.begun + self.failed]
        done, ended = (round(whole * min(1.0, each / max(1, self.total))) for each in ends)
        heavy, light = ("━", "─") if encoding.lower().startswith("utf") else ("=", "-")
        return [
            (title, ""),
            (heavy * done, "done"),
            (heavy * (ended - done), "failed"),
            (light * (whole - ended), "waiting"),
            (numbers, ""),
        ]

    def text(self, width: int, encoding: str = "utf-8") -> str:
        """Return the bar as a line for standard output, coloured if that shows colours."""
        return "".join(painted(text, meaning) for text, meaning in self.parts(width, encoding))
