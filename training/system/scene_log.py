"""Read a scene's log from its end, however long it is, also while it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from training.system.console import printable
from training.system.numbers import is_number

TAIL_BYTES = 16_384
MOST_AT_ONCE = 2**20
"""Bytes that a follower returns at once; of a larger gain it skips the beginning."""
HEADING = "=== "
"""Beginning of the lines that head each attempt in a log."""
LONGEST_MESSAGE = 500
PROGRESS = "TS_PROGRESS "
"""Beginning of a trainer's machine-readable lines; a JSON object follows."""
LONGEST_S = 366 * 86_400
UNITS = (
    ("epoch", "epoch", "epochs"),
    ("step", "step", "steps"),
    ("sample", "samples", "of"),
    ("frame", "frames", "of"),
)
"""What progress lines count: its name, and the keys of how many are done and of how many."""


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
    """Return the last lines of a log that are neither empty nor machine-readable, printable."""
    lines = tail(log).decode("utf-8", errors="replace").splitlines()
    shown = [line for line in lines if line.strip() and not line.startswith(PROGRESS)]
    return [printable(line) for line in shown[-count:]]


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


def progress_lines(log: Path) -> list[dict[str, Any]]:
    """Return the last attempt's progress lines near the end of its log as data, oldest first."""
    found: list[dict[str, Any]] = []
    for line in tail(log).rpartition(b"\n")[0].decode("utf-8", errors="replace").splitlines():
        if line.startswith(HEADING):  # the lines above are of earlier attempts
            found.clear()
        if line.startswith(PROGRESS) and (progress := parse_progress(line)):
            found.append(progress)
    return found


def latest_progress(log: Path) -> dict[str, Any] | None:
    """Return the last attempt's last whole progress line as data; None before the first."""
    return next(reversed(progress_lines(log)), None)


def progress_text(progress: Mapping[str, Any]) -> str:
    """Format a progress line: `epoch 3/30, loss 0.0123`, `sample 24/400`, `frame 3/30`."""
    return ", ".join(filter(None, [position_text(progress), loss_text(progress)]))


def position_text(progress: Mapping[str, Any]) -> str:
    """Return how far an attempt is: `epoch 3/30`; empty where the line does not say."""
    for noun, done, total in UNITS:
        if done in progress:
            of = f"/{progress[total]}" if total in progress else ""
            return " ".join(printable(f"{noun} {progress[done]}{of}").split())
    return ""


def loss_text(progress: Mapping[str, Any]) -> str:
    """Return `loss 0.0123`; empty where the line has none."""
    loss = progress.get("loss")
    return f"loss {loss:.4g}" if isinstance(loss, float) else ""


def progress_fraction(progress: Mapping[str, Any]) -> float:
    """Return the finished fraction, 0 to 1, by epochs, steps, samples or frames; 0 where unsaid."""
    done, total = _done_and_total(progress)
    return min(1.0, max(0.0, done / total)) if total else 0.0


def seconds_to_go(
    lines: Sequence[Mapping[str, Any]], elapsed_s: float, attempt: int
) -> float | None:
    """Estimate how long a running attempt still takes, by its own progress; None if it has none.

    Each epoch takes as long as those that name their `seconds`, else as those of this attempt: of
    a later one, which has gone on from a checkpoint, that is not known.
    """
    done, total = _done_and_total(lines[-1]) if lines else (0, 0)
    if not total or not done:
        return None
    left = max(0, total - done)
    named = [each["seconds"] for each in lines if isinstance(each.get("seconds"), int | float)]
    if not all(map(is_number, named)):  # any script may print NaN
        return None
    if not named and attempt > 1:
        return None
    seconds = left * (fmean(named) if named else elapsed_s / done)
    return seconds if 0 <= seconds < LONGEST_S else None


def parse_progress(line: str) -> dict[str, Any] | None:
    """Return a progress line as data; None where it holds no JSON object."""
    try:
        progress = json.loads(line.removeprefix(PROGRESS))
    except (ValueError, RecursionError):
        return None
    return progress if isinstance(progress, dict) else None


def _done_and_total(progress: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many epochs, steps, samples or frames are done, of how many; (0, 0) if unsaid."""
    for _, part, whole in UNITS:
        done, total = progress.get(part), progress.get(whole)
        if isinstance(done, int) and isinstance(total, int) and _can_be_divided(done, total):
            return done, total
    return 0, 0


def _can_be_divided(done: int, total: int) -> bool:
    return is_number(done) and is_number(total) and total > 0


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
