"""Write the table of faults into docs/reliability.md, from the outcomes of the tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from tests.faults.breakages import BREAKAGES
from tests.faults.catalogue import ENDS, FAULTS, NOT_APPLICABLE, WAYS
from tests.faults.cells import Cell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- python -m tests.faults writes from here -->", "<!-- to here -->"
PASSED = "passed"
FACTS = ("ends", "attempts", "flow", "left", "rerun")
HEAD = (
    "| fault | way | scene | attempts | the run | left behind | the same command again |\n"
    "|---|---|---|---|---|---|---|"
)


def page_with(text: str, table: str) -> str:
    """Return a page with this table between its marks; raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def table(cells: Iterable[Cell], outcomes: Mapping[str, str] | None = None) -> str:
    """Return the whole generated part: how to read it, the tables by section, the breakages.

    `outcomes`: by test, where it is not `passed`; None where all have passed.
    """
    by_key = {cell.key: cell for cell in cells}
    ends = "; ".join(f"*{name}*: {says}" for name, says in ENDS.items())
    how = "How the run ends or, where its other scenes meet other faults, what it says of this one"
    parts = [f"{how}: {ends}.", ""]
    for section, faults in FAULTS.items():
        parts += [f"### {section}", "", HEAD]
        parts += [row for fault in faults for row in rows_of(fault, by_key, outcomes or {})]
        parts += [""]
    parts += list(list_of_tests(by_key.values()))
    return "\n".join(parts).rstrip()


def rows_of(
    fault: str, cells: Mapping[tuple[str, str], Cell], outcomes: Mapping[str, str]
) -> Iterator[str]:
    """Yield the rows of a fault: ways in which all is the same share one."""
    ways: dict[tuple[str, ...], list[str]] = {}
    for way, title in WAYS.items():
        ways.setdefault(facts_of(fault, way, cells, outcomes), []).append(title)
    name = fault
    for facts in sorted(ways, key=lambda facts: len(facts) == 1):  # what has no test comes last
        columns = [name, ", ".join(ways[facts]), *facts, *[""] * (len(FACTS) - len(facts))]
        yield f"| {' | '.join(columns)} |"
        name = ""


def facts_of(
    fault: str, way: str, cells: Mapping[tuple[str, str], Cell], outcomes: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the facts of a cell, or the one reason for which it has none."""
    cell = cells.get((fault, way))
    if cell is None:
        return (f"*{NOT_APPLICABLE.get((fault, way), 'no test yet')}*",)
    if (outcome := outcomes.get(cell.test, PASSED)) != PASSED:
        return (f"**the test has {outcome}**",)
    return tuple(getattr(cell, fact) for fact in FACTS)


def list_of_tests(cells: Iterable[Cell]) -> Iterator[str]:
    """Yield the list of breakages: what turns which tests red."""
    yield "### Each test and the breakage that turns it red"
    yield ""
    yield "| broken | in | fault, way, test |"
    yield "|---|---|---|"
    ordered = sorted(cells, key=lambda cell: (list(BREAKAGES).index(cell.breakage), cell.test))
    for name, group in groupby(ordered, key=lambda cell: cell.breakage):
        broken = BREAKAGES[name]
        tests = "<br>".join(f"{cell.fault}, {WAYS[cell.way]}: `{cell.test_name}`" for cell in group)
        yield f"| {broken.says} | `{broken.file}` | {tests} |"
