"""Ask Git about a folder, whatever repository the environment names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY_VARIABLES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
"""Set inside Git's hooks, where they would name another repository than the folder's."""


def git_output(folder: Path, *arguments: str, timeout_s: float) -> bytes | None:
    """Return what Git prints; None without Git, outside a repository, or when it takes too long."""
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607 - from PATH
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={key: os.environ[key] for key in os.environ.keys() - REPOSITORY_VARIABLES},
            timeout=timeout_s,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
