"""Build what is slow to build once for all processes of a shared disk: compiled code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

LOCK_TIMEOUT_S = 3 * 3600
"""Longer than any build takes."""
SAY_AFTER_S = 5.0


def built_once(folder: Path, build: Callable[[Path], None], say: Callable[[str], None]) -> Path:
    """Return `folder` with what `build` makes; one process builds, and others wait meanwhile.

    `build` is given an empty folder beside it, which takes its name when `build` has returned: a
    folder of that name is complete. What a killed process has left is removed by the next one.
    Raises what `build` raises, OSError, and TimeoutError when another process never ends.
    """
    if folder.is_dir():
        return folder
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")  # the kernel releases it when its process dies
    try:
        lock.acquire(timeout=SAY_AFTER_S)
    except Timeout:
        say(f"waiting for another process, which builds {folder}")
        try:
            lock.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout as error:
            raise TimeoutError(f"{folder}.lock has been held for hours: what builds it?") from error
    try:
        if not folder.is_dir():
            _build(folder, build)
    finally:
        lock.release()
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    build(unfinished)
    unfinished.rename(folder)
