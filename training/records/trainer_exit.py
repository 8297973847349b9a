"""What a supervisor leaves first when its trainer has ended well: the exit status.

A supervisor that is killed in the moment between that and the record leaves a record that says
running. Whoever closes it finds the note here, and completes it instead of training again.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.records.expected_outputs import has_fresh_outputs, read_metrics
from training.records.record import RECORD, Cause, RunRecord, now, write_record

NOTE = ".trainer_exit.json"


class _TrainerExit(BaseModel):
    """A trainer that has ended by itself with exit status 0."""

    model_config = ConfigDict(frozen=True)

    pid: int
    """The supervisor's, as in the attempt."""
    start: datetime
    """The attempt's."""
    end: datetime
    expected_outputs: tuple[str, ...]


def note_exit(output: Path, record: RunRecord, expected_outputs: tuple[str, ...]) -> None:
    """Note that the trainer of a record's last attempt has ended well just now; raises OSError."""
    if last := record.last:
        note = _TrainerExit(
            pid=last.pid, start=last.start, end=now(), expected_outputs=expected_outputs
        )
        new = output / f"{NOTE}.new"
        new.write_text(note.model_dump_json(), encoding="utf-8")
        new.replace(output / NOTE)  # not flushed to the disk: it is for processes that are killed


def forget_exit(output: Path) -> None:
    """Remove the note once a record says how the attempt ended."""
    with contextlib.suppress(OSError):
        (output / NOTE).unlink()


def complete(output: Path, record: RunRecord | None) -> RunRecord | None:
    """Return the record as done, and write it, where the trainer had ended well; else as it is.

    For whoever holds the claim. Raises OSError.
    """
    done = _completed(output, record) if record and record.status == "running" else None
    if done is None:
        return record
    write_record(output, done)
    forget_exit(output)
    return done


def _completed(output: Path, record: RunRecord) -> RunRecord | None:
    """Return the record as done; None unless the note is of its last attempt, and outputs are new.

    Its expected outputs were written since the attempt's start, when the record was written last:
    both times are the file server's.
    """
    last = record.last
    try:
        note = _TrainerExit.model_validate_json((output / NOTE).read_bytes())
        since = (output / RECORD).stat().st_mtime
        is_fresh = has_fresh_outputs(output, note.expected_outputs, since)
    except (OSError, ValueError):
        return None
    if last is None or (note.pid, note.start) != (last.pid, last.start) or not is_fresh:
        return None
    message = "recorded later: its supervisor was killed after the trainer had ended"
    done = record.ended(Cause.OK, 0, message, read_metrics(output))
    ended = done.attempts[-1].model_copy(update={"end": note.end})
    return done.model_copy(update={"attempts": (*done.attempts[:-1], ended)})
