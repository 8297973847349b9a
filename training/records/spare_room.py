"""Room on the disk that is kept for the end of a record while a trainer runs.

A trainer that fills the disk would leave a record that says running, and whoever closes that later
can't know why. What is kept is given up before the record is written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

SPARE = ".room_for_the_record"
SIZE = 2**16
"""Bytes: more than a record with hundreds of attempts, and a claim that is released."""


def keep_room(output: Path) -> None:
    """Take room for the record in an output folder, as far as there is any."""
    with contextlib.suppress(OSError):  # a full disk is told when the trainer meets it
        (output / SPARE).write_bytes(os.urandom(SIZE))  # zeros might be compressed


def give_room(output: Path) -> str:
    """Give the room up; return a remark for the record where the disk has no other left."""
    with contextlib.suppress(OSError):
        is_full = shutil.disk_usage(output).free < SIZE
        (output / SPARE).unlink(missing_ok=True)
        return " (its disk is full)" if is_full else ""
    return ""
