"""A cell of the fault table: what a marked test proves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

import pytest

from tests.faults.breakages import BREAKAGES
from tests.faults.catalogue import ALL_FAULTS, ENDS, NOT_APPLICABLE, WAYS

PROPERTY = "fault"
"""The user property of a test's reports that has a cell, so that one process hears of all."""
CELLS = pytest.StashKey[list["Cell"]]()
"""Where pytest's configuration has the cells of all tests that were collected."""


@dataclass(frozen=True)
class Cell:
    """One fault met in one way, with all that its test asserts."""

    fault: str
    way: str
    ends: str
    """The scene's state after the run: done, failed, cancelled, ..."""
    attempts: str
    """Causes of the attempts in order, separated by commas; `-` where none started."""
    flow: str
    """How the run ends, a key of ENDS."""
    breakage: str
    """Key of the breakage of the product that turns the test red."""
    left: str = "not tested"
    """Processes, jobs and files that stay behind."""
    rerun: str = "not tested"
    """What the same command does afterwards."""
    test: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What identifies a cell in the table."""
        return self.fault, self.way

    @property
    def test_name(self) -> str:
        """The test's file and function."""
        return function_of(self.test).rpartition("/")[2]

    def complaint(self) -> str:
        """Return what is wrong with a marker's words, or nothing."""
        known = {
            "fault": (self.fault, ALL_FAULTS),
            "way": (self.way, WAYS),
            "flow": (self.flow, ENDS),
            "breakage": (self.breakage, BREAKAGES),
        }
        for name, (value, allowed) in known.items():
            if value not in allowed:
                return f"unknown {name} {value!r}; known are: {', '.join(sorted(allowed))}"
        reason = NOT_APPLICABLE.get(self.key)
        return f"the catalogue says that {self.way} {reason}" if reason else ""


def cell_of(mark: pytest.Mark, test: str) -> Cell:
    """Return the cell of a marker; raises pytest.UsageError for one that is not well-formed."""
    names = [each.name for each in fields(Cell)]
    given: dict[str, Any] = {**dict(zip(names, mark.args, strict=False)), **mark.kwargs}
    required = [each.name for each in fields(Cell) if each.default is MISSING]
    if missing := [name for name in required if name not in given]:
        raise pytest.UsageError(f"{test}: the fault marker lacks {', '.join(missing)}")
    if unknown := [name for name in given if name not in names]:
        raise pytest.UsageError(f"{test}: the fault marker has no {', '.join(unknown)}")
    cell = Cell(**given, test=test)
    if complaint := cell.complaint():
        raise pytest.UsageError(f"{test}: {complaint}")
    return cell


def cells_of(item: pytest.Item) -> Iterator[Cell]:
    """Yield the cells that a test proves."""
    for mark in item.iter_markers("fault"):
        yield cell_of(mark, item.nodeid)


def merge(cells: Iterable[Cell]) -> list[Cell]:
    """Return each cell once: variants of one test, by its parameters, are one cell.

    Raises pytest.UsageError for a cell that two tests claim.
    """
    found: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        known = found.setdefault(cell.key, cell)
        if known.test == cell.test:
            continue
        base = function_of(cell.test)
        if function_of(known.test) != base:
            raise pytest.UsageError(f"{cell.key} is proved by {known.test} and by {cell.test}")
        found[cell.key] = replace(known, test=base)
    return list(found.values())


def function_of(test: str) -> str:
    """Return a test's id without its parameters."""
    return test.partition("[")[0]


def collect(items: Iterable[pytest.Item]) -> list[Cell]:
    """Return the cells of all tests, and hang each on its test's reports."""
    found = []
    for item in items:
        for cell in cells_of(item):
            item.user_properties.append((PROPERTY, asdict(cell)))
            found.append(cell)
    return merge(found)
