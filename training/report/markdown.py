"""Write a report as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from training.report.blocks import (
    Block,
    Code,
    Document,
    Facts,
    Heading,
    Items,
    Picture,
    SideBySide,
    Table,
    Text,
)

SPECIAL = re.compile(r"([\\`*|\[\]~]|(?<![^\W_])_|_(?![^\W_]))")
"""Characters that Markdown gives a meaning; underscores have one at the edge of a word."""

Address = Callable[[Path], str]
"""Returns the link or data URI of a picture; empty for one that is not shown."""


def to_markdown(document: Document, address: Address) -> str:
    """Return the report with the pictures at the addresses that `address` returns."""
    lines = [f"# {escaped(document.title)}", ""]
    for block in document.blocks:
        lines += [*_lines(block, address), ""]
    return "\n".join(lines)


def linked_from(folder: Path) -> Address:
    """Return an address function for a file in `folder`: pictures as relative links."""
    return lambda path: quote(os.path.relpath(path, folder))


def escaped(text: str) -> str:
    """Return text of a record or log as one line in which nothing is markup."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return SPECIAL.sub(r"\\\1", plain)


def _lines(block: Block, address: Address) -> list[str]:
    match block:
        case Heading() | Text() | Code():
            return _text(block)
        case Facts(facts):
            return [
                escaped(f"- {fact.name}: {fact.value}" + (f" ({fact.note})" if fact.note else ""))
                for fact in facts
            ]
        case Items(items):
            return [
                line
                for item in items
                for line in [
                    f"- {escaped(item.name)}: {escaped(item.text)}",
                    *([f"  - {escaped(item.detail)}"] if item.detail else []),
                ]
            ]
        case Table():
            return _table(block)
        case Picture():
            return _picture(block, address)
        case SideBySide(title, pictures):
            shown = (line for each in pictures for line in ["", *_picture(each, address, "####")])
            return [f"### {escaped(title)}", *shown]


def _text(block: Heading | Text | Code) -> list[str]:
    if isinstance(block, Code):  # indented: a fence would end at its like in the text
        return [f"    {line}" for line in block.text.splitlines()]
    return [f"{'## ' if isinstance(block, Heading) else ''}{escaped(block.text)}"]


def _table(table: Table) -> list[str]:
    numbers = len(table.head) - table.text_columns
    head = [table.head, ["---"] * table.text_columns + ["---:"] * numbers]
    return [_line(line) for line in [*head, *table.lines, *table.foot]]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def _picture(picture: Picture, address: Address, heading: str = "###") -> list[str]:
    link = address(picture.path)
    title = escaped(picture.title)
    note = ["", escaped(picture.note)] if picture.note else []
    shown = f"![{title}]({link})" if link else f"not shown: {escaped(str(picture.path))}"
    return [f"{heading} {title}", *note, "", shown]
