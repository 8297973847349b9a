"""Whether a claim's file still counts: what a process asks that may have been suspended meanwhile.

A process that was frozen for long, or cut off from the disk, may have been taken for dead, and its
scene may be another run's by now. Both sides ask here: the holder of a claim, and its trainer,
which knows the claim's file by an environment variable.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from training.system.presence import names_in

SUFFIX = ".json"
VARIABLE = "TS_CLAIM"
"""Environment variable of a trainer with its claim's file: it may write while that counts."""


class ClaimLostError(OSError):
    """This process's claim does not count any more: it must not write."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path.parent.parent} is not this run's any more: {why}")


def numbered(folder: Path) -> list[Path]:
    """Return the claims in a folder, the one that counts last; none where there is no folder.

    Raises OSError where nobody can tell.
    """
    names = (name for name in names_in(folder) if name.endswith(SUFFIX))
    return [folder / name for name in names if name.removesuffix(SUFFIX).isdigit()]


def check_claim(path: Path) -> None:
    """Raise ClaimLostError where a claim was inherited or removed, OSError where nobody can tell.

    Opens the file, since NFS then asks its server, instead of a cache, whether it is there.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ESTALE}:
            raise ClaimLostError(path, f"its claim {path} is gone") from error
        raise
    if (newest := numbered(path.parent)[-1:]) and newest != [path]:
        raise ClaimLostError(path, f"another one took it over meanwhile ({newest[0]})")


def check_own_claim() -> None:
    """Do `check_claim` in a trainer, whose environment names its claim; nothing in others."""
    if path := os.environ.get(VARIABLE):
        check_claim(Path(path))
