"""Folders for what only one user may read: keys, passwords, a database, locks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_folder(folder: Path) -> Path:
    """Return a folder that only this user can open: a new one, or the one that is there.

    Raises PermissionError for a link or another user's folder, in which whoever made it could read
    or exchange everything; OSError where it can't be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "not a folder of this user alone", str(folder))
    if about.st_mode & OTHERS:
        folder.chmod(0o700)
    return folder
