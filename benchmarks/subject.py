"""What is measured: rows of plain numbers, and the subjects that make them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Literal

Better = Literal["lower", "higher"]
Role = Literal["ours", "peer", "floor"]
Size = Literal["quick", "usual", "full"]


class UnavailableError(Exception):
    """What is measured can't run here; the message says why, and what would help."""


@dataclass(frozen=True)
class Row:
    """One quantity of one variant: a sample of each round, or why there is none.

    A `floor` is no rival: it is what no variant can do without, such as an interpreter's start.
    """

    name: str
    variant: str
    samples: tuple[float, ...] = ()
    unit: str = "s"
    better: Better = "lower"
    role: Role = "ours"
    problem: str = ""

    @property
    def median(self) -> float:
        """Return the median of the samples; raises statistics.StatisticsError without any."""
        return statistics.median(self.samples)


Measure = Callable[[], Iterable[Row]]
"""Measures one variant once: its rows have one sample each. Raises UnavailableError."""


@dataclass(frozen=True)
class Aim:
    """A limit for a number that is made of the rows, such as a ratio; `None` where they lack."""

    text: str
    value: Callable[[Sequence[Row]], float | None]
    limit: float
    better: Better = "lower"

    def is_met(self, value: float) -> bool:
        """Return whether a number is within the limit."""
        return value <= self.limit if self.better == "lower" else value >= self.limit


@dataclass(frozen=True)
class Subject:
    """What is measured together.

    `opened` is entered once and yields the variants by name, those of `variants`, which the runner
    calls in turn; what it needs at the given size (a server, a cluster) lives meanwhile. `about`
    says for the page how it is measured, `why` by the name of a row, or of one of ours, why that is
    not ahead of a peer, by the text of an aim why it is not met, and what was tried.
    """

    name: str
    title: str
    about: str
    opened: Callable[[Size], AbstractContextManager[Mapping[str, Measure]]]
    variants: tuple[str, ...]
    why: Mapping[str, str] = field(default_factory=dict)
    aims: tuple[Aim, ...] = ()
    max_rounds: int | None = None
    timeout_s: float = 900.0


def merged(rows: Iterable[Row]) -> list[Row]:
    """Return a row for each quantity and variant, with all their samples in order."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row.name, row.variant)
        before = found.get(key)
        found[key] = replace(row, samples=before.samples + row.samples) if before else row
    return list(found.values())


def row_of(rows: Iterable[Row], name: str, variant: str) -> Row | None:
    """Return the row of a quantity and a variant if it has samples."""
    return next((r for r in rows if (r.name, r.variant) == (name, variant) and r.samples), None)


def best_of(rows: Iterable[Row], name: str, role: Role) -> Row | None:
    """Return the row with the best median among the variants of a role."""
    chosen = [row for row in rows if row.name == name and row.role == role and row.samples]
    if not chosen:
        return None
    choose = min if chosen[0].better == "lower" else max
    return choose(chosen, key=lambda row: row.median)


def ratio(
    name: str, variant: str, other: str, *, of: str = ""
) -> Callable[[Sequence[Row]], float | None]:
    """Return a function for an aim: one variant's median over another's, of the same quantity.

    With `of` the second median is that quantity's.
    """

    def value(rows: Sequence[Row]) -> float | None:
        above, below = row_of(rows, name, variant), row_of(rows, of or name, other)
        return above.median / below.median if above and below else None

    return value


def median(name: str, variant: str) -> Callable[[Sequence[Row]], float | None]:
    """Return a function for an aim: one variant's median of a quantity."""

    def value(rows: Sequence[Row]) -> float | None:
        row = row_of(rows, name, variant)
        return row.median if row else None

    return value
