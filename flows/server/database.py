"""The database of a server of ours: whether it is beyond use, and putting it aside."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

from training.records.record import now
from training.system.console import say

DATABASE_FILE = "prefect.db"
"""Prefect's default name for its database in PREFECT_HOME."""
BESIDE = ("", "-wal", "-shm")
"""What the names of SQLite's files end with."""
TIMEOUT_S = 5.0


def is_beyond_use(path: Path, timeout_s: float = TIMEOUT_S) -> bool:
    """Return whether SQLite says of a file that it is no database, or a malformed one.

    False where there is none, and where nobody can tell now: it is locked, or the disk refuses.
    """
    if not path.exists() or path.stat().st_size == 0:
        return False
    try:
        address = f"{path.resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(address, uri=True, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        return True
    return False


def put_aside_if_broken(path: Path) -> None:
    """Rename a database that is beyond use, so that the server makes a new one; say so."""
    if not is_beyond_use(path):
        return
    ending = f".broken-{now():%Y%m%dT%H%M%S}"
    for each in BESIDE:
        file = path.with_name(path.name + each)
        with contextlib.suppress(OSError):
            file.rename(file.with_name(file.name + ending))
    kept = path.with_name(path.name + ending)
    say(f"Prefect's database is beyond use: kept as {kept}, its server makes a new one", sys.stderr)
