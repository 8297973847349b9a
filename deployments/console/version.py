"""`--version`: of this project and of the libraries that decide how it runs, not imported."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version

from preprocess.roots import CHECKOUT, MARK, is_checkout
from training.system.typed_command import PROGRAM

LIBRARIES = {"Prefect": "prefect", "Dask": "dask", "PyTorch": "torch"}
GIT_TIMEOUT_S = 5.0
VERSION_LINE = re.compile(r'^version = "(.+)"$', re.MULTILINE)


def versions() -> str:
    """Return a line for this project with its commit, one for Python and one a library."""
    commit = _commit()
    own = f"{PROGRAM} {_own_version()}" + (f" (commit {commit})" if commit else "")
    lines = [own, f"Python {platform.python_version()}"]
    return "\n".join([*lines, *(f"{name} {_installed(dist)}" for name, dist in LIBRARIES.items())])


def _own_version() -> str:
    """Return the checkout's version; what is installed beside it may be another."""
    if is_checkout():
        found = VERSION_LINE.search((CHECKOUT / MARK).read_text(encoding="utf-8"))
        return found[1] if found else "of unknown version"
    return _installed(PROGRAM)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"


def _commit() -> str:
    """Return the commit of the checkout, or the one that pip installed from; empty if unknown."""
    if is_checkout():
        return _git("describe", "--always", "--dirty", "--exclude=*")
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        origin = json.loads(distribution(PROGRAM).read_text("direct_url.json") or "{}")
        return str(origin.get("vcs_info", {}).get("commit_id", ""))[:12]
    return ""


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(CHECKOUT), *arguments],  # noqa: S607 - from PATH
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
