"""Try the newest versions of our libraries: what `make test-newest` runs.

`requirements` prints what pyproject.toml needs, without its bounds. `report` lists the versions
that differ from the lock, runs the contract tests, and trains one scene by a real flow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXTRAS = ("trainer",)
TEST_TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "pyte")
LOCKED = ("torch",)
"""Whose newest version would cost gigabytes of CUDA packages."""
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?")
FLOW = (
    *("-m", "flows.train", "--exp-name", "newest", "--scene-name-includes", "pair01_wave"),
    *("--overrides", "train.optimization.epochs=2"),
)


def locked() -> dict[str, str]:
    """The versions in requirements.lock, by name."""
    lines = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {normal(name): number for name, _, number in pairs}


def normal(name: str) -> str:
    """A distribution's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def requirements() -> Iterator[str]:
    """What is to be installed: without versions, but for what must stay as it is."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *(each for name in EXTRAS for each in extras[name])]:
        found = REQUIREMENT.match(text)
        assert found, text
        name = found[0]
        yield f"{name}=={locked()[normal(name)]}" if name in LOCKED else name
    yield from TEST_TOOLS


def report() -> int:
    """Print what is new and what came out; 1 when something failed."""
    wanted = {normal(each.partition("==")[0]) for each in requirements()}
    known = locked()
    for name in sorted({*wanted, "dask"}):
        if version(name).partition("+")[0] != known.get(name):
            print(f"newer: {name} {version(name)} (lock: {known.get(name)})")
    with tempfile.TemporaryDirectory() as folder:
        roots = {
            f"TS_{each}_ROOT": f"{folder}/{each}" for each in ("RESULTS", "STATE", "SCENE_DATA")
        }
        runs = {
            "contract tests": ("-m", "pytest", "-n", "0", "--tb=line", "tests/contracts"),
            "flow": FLOW,
        }
        ended = {what: _run(arguments, roots) for what, arguments in runs.items()}
    print("\n".join(f"{what}: exit status {status}" for what, status in ended.items()))
    return int(any(ended.values()))


def _run(arguments: tuple[str, ...], roots: dict[str, str]) -> int:
    command = [sys.executable, *arguments]
    environment = {**os.environ, **roots}
    return subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode


if __name__ == "__main__":
    if sys.argv[1:] == ["report"]:
        sys.exit(report())
    print("\n".join(requirements()))
