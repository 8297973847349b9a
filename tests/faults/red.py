"""Break the product, and see the tests red that name the breakage: `python -m tests.faults.red`.

Arguments name breakages; without any, those whose tests have not all been seen red. Each is done in
this checkout and undone, tests run in between; what was red is written to red.json.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.breakages import BREAKAGES, Breakage
from tests.faults.collected import collected_cells

CHECKOUT = Path(__file__).resolve().parents[2]
SEEN = Path(__file__).with_name("red.json")


@contextlib.contextmanager
def broken(breakage: Breakage) -> Iterator[None]:
    """Break the product within the block."""
    path = CHECKOUT / breakage.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(breakage.old, breakage.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def outcomes(*arguments: str) -> list[dict[str, Any]]:
    """Return the marked tests' cells from another process, which imports what is there now."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "tests.faults.outcomes", file.name, "-n0", *arguments]
        subprocess.run(command, cwd=CHECKOUT, check=True)
        return json.loads(Path(file.name).read_text(encoding="utf-8"))


def read_seen() -> dict[str, list[str]]:
    """Return the tests that were seen red, by breakage."""
    return json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}


def see_red(name: str, tests: list[str]) -> list[str]:
    """Return the tests that pass although the product is broken; write down those that do not."""
    print(f"=== {name}: {len(tests)} tests", flush=True)
    with broken(BREAKAGES[name]):
        found = {each["test"]: each["outcome"] for each in outcomes(*tests)}
    seen = read_seen()
    red = {test for test in tests if found.get(test) == "failed"}
    seen[name] = sorted(red)
    text = json.dumps(dict(sorted(seen.items())), indent=1) + "\n"
    SEEN.write_text(text, encoding="utf-8")
    return sorted(set(tests) - red)


def main(argv: list[str]) -> int:
    """Return 1 if a test stays green."""
    by_name: dict[str, list[str]] = {}
    for cell in collected_cells():
        by_name.setdefault(cell.breakage, []).append(cell.test)
    if unknown := set(argv) - set(by_name):
        print(f"no test names {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    seen = read_seen()
    due = argv or [name for name in by_name if set(by_name[name]) - set(seen.get(name, []))]
    green = {name: see_red(name, sorted(set(by_name[name]))) for name in due}
    for name, tests in green.items():
        print(f"{name}: {'stays green: ' + ', '.join(tests) if tests else 'red'}")
    return 1 if any(green.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
