"""Read a scene's log from its end, however long it is, also while it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TAIL_BYTES = 16_384
MOST_AT_ONCE = 2**20
"""Bytes that a follower returns at once; of a larger gain it skips the beginning."""
HEADING = "=== "
"""Beginning of the lines that head each attempt in a log."""
LONGEST_MESSAGE = 500
PROGRESS = "TS_PROGRESS "
"""Beginning of a trainer's machine-readable lines; a JSON object follows."""


def tail(log: Path, size: int = TAIL_BYTES) -> bytes:
    """Return the last `size` bytes of a log; empty when it can't be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - size))
            return stream.read()
    except OSError:
        return b""


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log that are neither empty nor machine-readable."""
    lines = tail(log).decode("utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(PROGRESS)][-count:]


def last_line(log: Path) -> str:
    """Return the last line of a log for people, cut to 500 characters; `no output` without one."""
    return next(iter(last_lines(log, 1)), "no output")[:LONGEST_MESSAGE]


def last_message(log: Path, count: int = 10) -> str:
    """Return the last attempt's final `count` lines joined into one, cut to 500 characters.

    `no output` where the attempt printed nothing.
    """
    lines: list[str] = []
    for line in last_lines(log, count):
        lines = [] if line.startswith(HEADING) else [*lines, line.strip()]
    return " ".join(lines)[:LONGEST_MESSAGE] or "no output"


def latest_progress(log: Path) -> dict[str, Any] | None:
    """Return the last attempt's last whole progress line as data; None before the first."""
    whole_lines = tail(log).rpartition(b"\n")[0].decode("utf-8", errors="replace").splitlines()
    for line in reversed(whole_lines):
        if line.startswith(HEADING):  # the lines above are of earlier attempts
            return None
        if line.startswith(PROGRESS):
            return _parsed(line.removeprefix(PROGRESS))
    return None


def progress_text(progress: dict[str, Any]) -> str:
    """Format a progress line: `epoch 3/30, loss 0.0123`, `sample 24/400`, `frame 3/30`."""
    epochs = f"/{progress['epochs']}" if "epochs" in progress else ""
    parts = [f"epoch {progress['epoch']}{epochs}"] if "epoch" in progress else []
    of = f"/{progress['of']}" if "of" in progress else ""
    counted = {"sample": progress.get("samples"), "frame": progress.get("frames")}
    parts += [f"{name} {count}{of}" for name, count in counted.items() if count is not None]
    parts += [f"loss {progress['loss']:.4g}"] if isinstance(progress.get("loss"), float) else []
    return ", ".join(parts)


def progress_fraction(progress: dict[str, Any]) -> float:
    """Return the finished fraction, 0 to 1, by epochs, samples or frames; 0 where unsaid."""
    for part, whole in (("epoch", "epochs"), ("samples", "of"), ("frames", "of")):
        done, total = progress.get(part), progress.get(whole)
        if isinstance(done, int) and isinstance(total, int) and total > 0:
            return min(1.0, max(0.0, done / total))
    return 0.0


class LogFollower:
    """Reads what is appended to a log, from the end that it has when this is created."""

    def __init__(self, log: Path) -> None:
        self._log = log
        old = log.stat() if log.exists() else None
        self._inode, self._offset = (old.st_ino, old.st_size) if old else (0, 0)

    def new_lines(self) -> str:
        """Return the new whole lines for people; of a log that was replaced, from its beginning."""
        try:
            now = self._log.stat()
            if now.st_ino != self._inode:
                self._inode, self._offset = now.st_ino, 0
            self._offset = max(self._offset, now.st_size - MOST_AT_ONCE)
            with self._log.open("rb") as stream:
                stream.seek(self._offset)
                whole = stream.read(MOST_AT_ONCE).rpartition(b"\n")
        except OSError:
            return ""
        self._offset += len(whole[0]) + len(whole[1])
        lines = whole[0].decode("utf-8", errors="replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith(PROGRESS))


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        progress = json.loads(text)
    except ValueError:
        return None
    return progress if isinstance(progress, dict) else None
