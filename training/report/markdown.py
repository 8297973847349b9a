"""A report as Markdown, for a file beside its plots."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from training.report.blocks import Block, Document, Facts, Heading, Items, Picture, Table, Text

SPECIAL = re.compile(r"([\\`*|\[\]~])")


def to_markdown(document: Document, folder: Path) -> str:
    """The report, for a file in `folder`, where its links start."""
    lines = [f"# {escaped(document.title)}", ""]
    for block in document.blocks:
        lines += [*_lines(block, folder), ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text of a record or a log in one line, where it means nothing but itself."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return SPECIAL.sub(r"\\\1", plain)


def _lines(block: Block, folder: Path) -> list[str]:
    match block:
        case Heading(text):
            return [f"## {escaped(text)}"]
        case Text(text):
            return [escaped(text)]
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
            return _picture(block, folder)


def _table(table: Table) -> list[str]:
    numbers = len(table.head) - table.words
    head = [table.head, ["---"] * table.words + ["---:"] * numbers]
    return [_line(line) for line in [*head, *table.lines, *table.foot]]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def _picture(picture: Picture, folder: Path) -> list[str]:
    link = quote(os.path.relpath(picture.path, folder))
    title = escaped(picture.title)
    note = ["", escaped(picture.note)] if picture.note else []
    return [f"### {title}", *note, "", f"![{title}]({link})"]
