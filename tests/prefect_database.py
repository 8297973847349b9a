"""Prefect's database with all its tables, made once: migrations cost each new server 5 CPU s."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".pytest_cache" / "prefect"
NAME = "prefect.db"


def put_migrated_database(home: Path) -> None:
    """Copy it into a PREFECT_HOME that has no database yet."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (home / NAME).exists():
        shutil.copyfile(_migrated_database(), home / NAME)


def _migrated_database() -> Path:
    """Return the database of the installed Prefect; the first process that asks makes it."""
    home = CACHE / version("prefect")
    home.mkdir(parents=True, exist_ok=True)
    made = home / "migrated.db"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            (home / NAME).unlink(missing_ok=True)  # of a process that was killed
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            environment = {**os.environ, "PREFECT_HOME": str(home)}
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
            (home / NAME).rename(made)
    return made
