"""Distinguish what is absent from what can't be looked at: unknown is neither empty nor absent.

`Path.glob` finds nothing in a folder that can't be listed, and `os.path.exists` is false below one
that can't be entered. Code that decides by what is there uses these functions instead.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


def names_in(folder: str | Path) -> list[str]:
    """Return the sorted names in a folder; none where there is no such folder yet.

    Raises OSError where it can't be listed, as of another user's, or where a file or a link that
    leads nowhere is in its place.
    """
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except FileNotFoundError:
        check_no_dangling_link(Path(folder))
        return []


def may_exist(path: str | Path, *, if_unknown: bool = True) -> bool:
    """Return whether something is there, a link that leads nowhere included.

    `if_unknown` where nobody can tell, since a folder above it can't be entered.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return if_unknown
    return True


def check_no_dangling_link(missing: Path) -> None:
    """Raise FileNotFoundError for a link on the way to a missing path that leads nowhere.

    As to a disk that is not mounted: what is behind it may be there tomorrow.
    """
    nearest = nearest_existing(missing)
    if os.path.islink(nearest) and not os.path.exists(nearest):  # noqa: PTH110, PTH114
        raise FileNotFoundError(errno.ENOENT, "a link that leads nowhere", nearest)


def nearest_existing(path: str | Path) -> str:
    """Return an absolute path, or the nearest above it that is there; a link itself is there."""
    nearest = str(path)
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)  # noqa: PTH120 - of ten thousand scenes
    return nearest
