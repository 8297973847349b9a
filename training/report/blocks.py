"""The building blocks of a report, from which Markdown and HTML are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """The heading of the blocks that follow."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be copied as they are."""

    text: str


@dataclass(frozen=True)
class Fact:
    """A number that a reader should see at a glance."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Several facts, side by side."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Item:
    """A line of a list, with an optional paragraph below it."""

    name: str
    text: str
    detail: str = ""


@dataclass(frozen=True)
class Items:
    """A bulleted list."""

    items: tuple[Item, ...]


@dataclass(frozen=True)
class Table:
    """A table; the first `text_columns` columns hold text, the others numbers."""

    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    foot: Sequence[Sequence[str]] = ()
    """The last lines, which hold averages."""
    text_columns: int = 2


@dataclass(frozen=True)
class Picture:
    """A picture beside the report or in a scene's folder."""

    path: Path
    title: str
    note: str = ""
    is_plot: bool = False
    is_animation: bool = False
    """An animated WebP, which pages embed as it is."""


@dataclass(frozen=True)
class SideBySide:
    """Pictures of one scene in a row, for comparison."""

    title: str
    pictures: tuple[Picture, ...]


Block = Heading | Text | Code | Facts | Items | Table | Picture | SideBySide


@dataclass(frozen=True)
class Document:
    """A whole report, or a comparison of experiments."""

    title: str
    blocks: tuple[Block, ...]
