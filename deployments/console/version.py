"""`--version`: of this project and of the libraries that decide how it runs, not imported."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution

from preprocess.roots import CHECKOUT, is_checkout
from training.system.git import git_output
from training.system.typed_command import PROGRAM
from training.system.versions import installed_version, own_version

LIBRARIES = {"Prefect": "prefect", "Dask": "dask", "PyTorch": "torch"}
GIT_TIMEOUT_S = 5.0


def versions() -> str:
    """Return a line for this project with its commit, one for Python and one a library."""
    commit = _commit()
    own = f"{PROGRAM} {own_version() or 'of unknown version'}" + (
        f" (commit {commit})" if commit else ""
    )
    lines = [own, f"Python {platform.python_version()}"]
    found = {name: installed_version(distribution) for name, distribution in LIBRARIES.items()}
    return "\n".join(
        [*lines, *(f"{name} {text or 'is not installed'}" for name, text in found.items())]
    )


def _commit() -> str:
    """Return the commit of the checkout, or the one that pip installed from; empty if unknown."""
    if is_checkout():
        described = ("describe", "--always", "--dirty", "--exclude=*")
        answer = git_output(CHECKOUT, *described, timeout_s=GIT_TIMEOUT_S) or b""
        return os.fsdecode(answer).strip()
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        origin = json.loads(distribution(PROGRAM).read_text("direct_url.json") or "{}")
        return str(origin.get("vcs_info", {}).get("commit_id", ""))[:12]
    return ""
