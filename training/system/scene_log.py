"""Reading a scene's log from its end, however long it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TAIL_BYTES = 16_384
MOST_AT_ONCE = 2**20
"""What a follower shows of a log that grows faster than a person reads."""
HEADING = "=== "
LONGEST_MESSAGE = 500
PROGRESS = "TS_PROGRESS "
"""How a trainer's machine-readable line begins; a JSON object follows."""


def tail(log: Path, size: int = TAIL_BYTES) -> bytes:
    """The last bytes of a log; empty when it can't be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - size))
            return stream.read()
    except OSError:
        return b""


def last_lines(log: Path, count: int) -> list[str]:
    """The last non-empty lines of a log that are meant for people."""
    lines = tail(log).decode("utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(PROGRESS)][-count:]


def last_line(log: Path) -> str:
    """The last non-empty line of a log, cut to a sentence's length."""
    return next(iter(last_lines(log, 1)), "no output")[:LONGEST_MESSAGE]


def last_words(log: Path, count: int = 10) -> str:
    """What an attempt said at its end, in one line cut to a sentence's length."""
    said: list[str] = []
    for line in last_lines(log, count):
        said = [] if line.startswith(HEADING) else [*said, line.strip()]
    return " ".join(said)[:LONGEST_MESSAGE] or "no output"


def latest_progress(log: Path) -> dict[str, Any] | None:
    """What the trainer's last whole progress line says; None before the first."""
    whole_lines = tail(log).rpartition(b"\n")[0].decode("utf-8", errors="replace").splitlines()
    for line in reversed(whole_lines):
        if line.startswith(HEADING):  # the heading of this attempt: what is above is older
            return None
        if line.startswith(PROGRESS):
            return _parsed(line.removeprefix(PROGRESS))
    return None


def progress_text(progress: dict[str, Any]) -> str:
    """`epoch 3/30, loss 0.0123` or `sample 24/400` from a progress line."""
    epochs = f"/{progress['epochs']}" if "epochs" in progress else ""
    parts = [f"epoch {progress['epoch']}{epochs}"] if "epoch" in progress else []
    samples = f"/{progress['of']}" if "of" in progress else ""
    parts += [f"sample {progress['samples']}{samples}"] if "samples" in progress else []
    parts += [f"loss {progress['loss']:.4g}"] if isinstance(progress.get("loss"), float) else []
    return ", ".join(parts)


def progress_fraction(progress: dict[str, Any]) -> float:
    """How much is behind, of 1, by epochs or samples; 0 where the line does not say."""
    for part, whole in (("epoch", "epochs"), ("samples", "of")):
        done, total = progress.get(part), progress.get(whole)
        if isinstance(done, int) and isinstance(total, int) and total > 0:
            return min(1.0, max(0.0, done / total))
    return 0.0


class LogFollower:
    """Hands out what a log has gained since it was last asked."""

    def __init__(self, log: Path) -> None:
        self._log = log
        old = log.stat() if log.exists() else None
        self._inode, self._offset = (old.st_ino, old.st_size) if old else (0, 0)

    def news(self) -> str:
        """The new whole lines that are meant for people; a log set aside is begun anew."""
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
