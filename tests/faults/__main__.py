"""Run all tests of the fault table and write docs/reliability.md: `python -m tests.faults`.

Arguments are pytest's (`-n 2 --dist loadfile`). The outcomes are in .pytest_cache/faults.json.
`--page` runs no test and writes what the markers say.
"""

from __future__ import annotations

import json
import sys

from tests.faults.cells import Cell
from tests.faults.collected import collected_cells
from tests.faults.outcomes import run
from tests.faults.page import PAGE, page_with, table

RESULTS = PAGE.parents[1] / ".pytest_cache" / "faults.json"


def main(argv: list[str]) -> int:
    """Run the tests, write results and page; pytest's exit status."""
    if argv == ["--page"]:
        return write(table(collected_cells()))
    status, told = run(argv)
    if not told:
        return status
    RESULTS.write_text(json.dumps(told, indent=1), encoding="utf-8")
    outcomes = {each["test"]: each.pop("outcome") for each in told}
    write(table((Cell(**each) for each in told), outcomes))
    return status


def write(made: str) -> int:
    """Put the table into the page; exit status 0."""
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
