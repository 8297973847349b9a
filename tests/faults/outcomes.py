"""Run marked tests and collect how each of their cells came out.

`python -m tests.faults.outcomes FILE ARGUMENT...` calls pytest with the arguments and writes a JSON
list of cells, each with its `outcome`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cells import PROPERTY, Cell, merge

RANK = ("passed", "skipped", "error", "failed")
"""`error`: what the test looks at could not be made, which proves nothing of the product."""


class Outcomes:
    """A pytest plugin that hears of all reports, those of other processes too."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self.by_test: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test's cells and the worst outcome of its phases."""
        told = [value for name, value in report.user_properties if name == PROPERTY]
        if not told:
            return
        if report.when == "setup":
            self.cells += [Cell(**each) for each in told]
        known = self.by_test.get(report.nodeid, "passed")
        is_error = report.outcome == "failed" and report.when == "setup"
        outcome = "error" if is_error else report.outcome
        self.by_test[report.nodeid] = max(known, outcome, key=RANK.index)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the cells, each with the worst outcome of its tests."""
        return [{**vars(cell), "outcome": self.outcome_of(cell.test)} for cell in merge(self.cells)]

    def outcome_of(self, test: str) -> str:
        """Return the worst outcome of a test, or of all its variants."""
        found = [
            outcome
            for name, outcome in self.by_test.items()
            if name == test or name.startswith(f"{test}[")
        ]
        return max(found, key=RANK.index)


def run(arguments: list[str]) -> tuple[int, list[dict[str, Any]]]:
    """Run pytest; return its exit status, and the cells with their outcomes.

    Long tests are run whether they have a cell or not: nothing else runs them.
    """
    plugin = Outcomes()
    status = pytest.main(["-m", "fault or long", *arguments], plugins=[plugin])
    return int(status), plugin.as_json()


def main(argv: list[str]) -> int:
    """Write the cells; exit status 0 if all tests were run, whatever came out."""
    status, cells = run(argv[1:])
    Path(argv[0]).write_text(json.dumps(cells, indent=1), encoding="utf-8")
    return 0 if status in {0, 1} else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
