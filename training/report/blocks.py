"""What a report consists of, before it is Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """The title of what follows."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Fact:
    """A number to see at a glance."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Several of them, side by side."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Item:
    """A line of a list, with more below it."""

    name: str
    text: str
    detail: str = ""


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Item, ...]


@dataclass(frozen=True)
class Table:
    """Cells; all columns after the first `words` hold numbers."""

    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    foot: Sequence[Sequence[str]] = ()
    """Averages."""
    words: int = 2


@dataclass(frozen=True)
class Picture:
    """A picture beside the report, or in a scene's folder."""

    path: Path
    title: str
    note: str = ""
    is_plot: bool = False


Block = Heading | Text | Facts | Items | Table | Picture


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    blocks: tuple[Block, ...]
