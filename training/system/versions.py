"""Versions of this project and of what decides how it runs, by their metadata: none is imported."""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from preprocess.roots import CHECKOUT, MARK, is_checkout
from training.system.typed_command import PROGRAM

VERSION_LINE = re.compile(r'^version = "(.+)"$', re.MULTILINE)
RECORDED = ("torch", "gsplat", "numpy", "hydra-core", "prefect")
"""Distributions whose versions a run record keeps."""


@cache
def recorded_versions() -> dict[str, str]:
    """Return the versions of this project, of Python, and of those of `RECORDED` that are here."""
    found = {name: installed_version(name) for name in RECORDED}
    own = {PROGRAM: own_version(), "python": platform.python_version()}
    return own | {name: text for name, text in found.items() if text}


def own_version() -> str:
    """Return the checkout's version, for what is installed beside it may be another; or empty."""
    if not is_checkout():
        return installed_version(PROGRAM)
    found = VERSION_LINE.search((CHECKOUT / MARK).read_text(encoding="utf-8"))
    return found[1] if found else ""


def installed_version(name: str) -> str:
    """Return the version of an installed distribution; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
