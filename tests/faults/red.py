"""Break the product, and see the tests red that name the breakage: `python -m tests.faults.red`.

Arguments name breakages; without any, those whose tests have not all been seen red. Each is done in
this checkout and undone, tests run in between; what was red is written to red.json. Breakages that
concern different tests can be done at once, `a + b` as one argument, where a run of them is long;
`--only TEXT` takes the tests alone whose ids have that text.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
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


def see_red(names: list[str], tests: dict[str, list[str]]) -> dict[str, list[str]]:
    """Break all of this at once and run its tests, by breakage; write down what was red.

    Returns the tests that pass all the same.
    """
    print(f"=== {' + '.join(names)}: {sum(len(tests[name]) for name in names)} tests", flush=True)
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(broken(BREAKAGES[name]))
        run = outcomes(*(test for name in names for test in tests[name]))
    red = {each["test"] for each in run if each["outcome"] == "failed"}
    seen = read_seen()
    for name in names:
        seen[name] = sorted(
            set(seen.get(name, [])) - set(tests[name]) | red.intersection(tests[name])
        )
    text = json.dumps(dict(sorted(seen.items())), indent=1) + "\n"
    SEEN.write_text(text, encoding="utf-8")
    return {name: sorted(set(tests[name]) - red) for name in names}


def main(argv: list[str]) -> int:
    """Return 1 if a test stays green, 2 for a name that no test has."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.red")
    parser.add_argument("breakages", nargs="*", metavar="BREAKAGE")
    parser.add_argument("--only", default="", metavar="TEXT")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is broken is undone
    tests: dict[str, list[str]] = {}
    for cell in collected_cells():
        if given.only in cell.test:
            tests.setdefault(cell.breakage, []).append(cell.test)
    tests = {name: sorted(set(of_name)) for name, of_name in tests.items()}
    seen = read_seen()
    due = [name for name in tests if set(tests[name]) - set(seen.get(name, []))]
    together = [argument.split(" + ") for argument in given.breakages or due]
    if unknown := {name for names in together for name in names} - set(tests):
        print(f"no test names {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    green: dict[str, list[str]] = {}
    for names in together:
        green |= see_red(names, tests)
    for name, of_name in green.items():
        print(f"{name}: {'stays green: ' + ', '.join(of_name) if of_name else 'red'}")
    return 1 if any(green.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
