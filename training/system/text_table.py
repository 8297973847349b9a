"""Tables as lines of text: columns are left out rather than wrapped where a terminal is narrow."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.system.colours import painted
from training.system.console import is_terminal

GAP = "  "
NARROWEST = 8
"""Characters that are kept of the first column's cells, where nothing else fits."""
ELLIPSIS = "…"


@dataclass(frozen=True)
class TextColumn:
    """A column of a table; empty ones are not shown."""

    heading: str
    cells: Sequence[str]
    leaves: int = 0
    """Which columns a narrow terminal leaves out first: the highest; those with 0 always stay."""
    meaning: Callable[[str], str] | None = None
    """Returns what a cell means, see `training.system.colours`; None for no colour."""

    @property
    def width(self) -> int:
        """The widest cell's, in columns of a terminal."""
        return max(map(display_width, (self.heading, *self.cells)))


@dataclass(frozen=True)
class FittedTable:
    """A table as lines, its headings first, and the headings of the columns left out."""

    lines: list[str]
    left_out: list[str]

    @property
    def note(self) -> list[str]:
        """A line that says which columns are left out and how to see them; empty if none is."""
        if not self.left_out:
            return []
        return [f"left out: {', '.join(self.left_out)} (… | cat shows all)"]


def fit(columns: Sequence[TextColumn], width: int | None) -> FittedTable:
    """Return the table in lines of at most `width` columns of the terminal; None for no bound."""
    used = [each for each in columns if any(each.cells) or not each.leaves]
    shown = used
    while width and _total(shown) > width and any(each.leaves for each in shown):
        first = max(shown, key=lambda each: each.leaves)
        shown = [each for each in shown if each is not first]
    left_out = [each.heading for each in used if each not in shown]
    if width and _total(shown) > width:
        shown = [_narrowed(shown[0], _total(shown) - width), *shown[1:]]
    return FittedTable(_lines(shown, width), left_out)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns begin at the same places."""
    columns = [TextColumn(column[0], column[1:]) for column in zip(*rows, strict=True)]
    return _lines(columns, None)


def terminal_width() -> int | None:
    """Return the columns of the terminal on standard output; None for a file or a pipe."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def display_width(text: str) -> int:
    """Return the columns that a text takes on a terminal: a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, width: int) -> str:
    """Return a text cut in its middle to so many columns: names differ at both ends."""
    if display_width(text) <= width:
        return text
    from rich.cells import set_cell_size

    end = text[len(text) - max(0, width - 1) // 2 :]
    while display_width(end) >= width and end:
        end = end[1:]
    return set_cell_size(text, max(0, width - 1 - display_width(end))) + ELLIPSIS + end


def _total(columns: Sequence[TextColumn]) -> int:
    return sum(each.width for each in columns) + len(GAP) * (len(columns) - 1)


def _narrowed(column: TextColumn, by: int) -> TextColumn:
    width = max(NARROWEST, column.width - by)
    cells = [shortened(cell, width) for cell in column.cells]
    return TextColumn(shortened(column.heading, width), cells, meaning=column.meaning)


def _lines(columns: Sequence[TextColumn], width: int | None) -> list[str]:
    is_cut = width is not None and _total(columns) > width
    padded = [_padded(column, is_last=column is columns[-1], is_plain=is_cut) for column in columns]
    lines = [GAP.join(row).rstrip() for row in zip(*padded, strict=True)]
    return [shortened(line, width or 0) for line in lines] if is_cut else lines


def _padded(column: TextColumn, *, is_last: bool, is_plain: bool) -> list[str]:
    """Return heading and cells of the column's width, coloured by what they mean."""
    width = 0 if is_last else column.width

    def cell(text: str) -> str:
        meaning = column.meaning(text) if column.meaning and not is_plain else ""
        return painted(text, meaning) + " " * (width - display_width(text))

    return [column.heading.ljust(width), *map(cell, column.cells)]
