"""The environment of the peers: `.venv-bench`, made by `make bench` from pyproject's extra `bench`.

It is one of their own, so that ours is measured as users have it: Hydra, for one, looks through
every plugin that is installed beside it.

    python -m benchmarks.peers requirements   # prints what pip installs there
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

from benchmarks.processes import CHECKOUT
from benchmarks.subject import UnavailableError

OWN = CHECKOUT / ".venv-bench" / "bin" / "python"
VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


def python_with(package: str) -> str:
    """Return the interpreter that has a package; raises UnavailableError if none has."""
    for python in (sys.executable, str(OWN)):
        if version_in(python, package):
            return python
    raise UnavailableError(f"{package} is not installed; make bench installs it in .venv-bench")


def version_of(package: str) -> str:
    """Return the version of a package, here or in the peers' environment, or 'not installed'."""
    return version_in(sys.executable, package) or version_in(str(OWN), package) or "not installed"


@cache
def version_in(python: str, package: str) -> str:
    """Return the version that an interpreter has of a package; empty if none."""
    if not Path(python).exists():
        return ""
    command = [python, "-c", VERSION, package]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip()


def requirements() -> list[str]:
    """Return what the extra `bench` needs."""
    content = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    needed: list[str] = content["project"]["optional-dependencies"]["bench"]
    return needed


if __name__ == "__main__":
    print("\n".join(requirements()))
