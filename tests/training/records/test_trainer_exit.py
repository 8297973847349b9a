"""A record that says running is completed where its trainer is known to have ended well."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from training.records.record import Attempt, Cause, RunRecord, read_record, write_record
from training.records.trainer_exit import NOTE, complete, note_exit

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def begin(output, start=THEN):
    """Write and return the record of an attempt that runs."""
    record = RunRecord(scene="a", exp_name="exp", fingerprint="f", status="running")
    record = record.started(Attempt(start=start, host="n1", pid=1))
    write_record(output, record)
    os.utime(output / "run.json", (1000, 1000))
    return record


def test_a_noted_exit_with_new_outputs_is_a_done_scene(tmp_path):
    """With its metrics, and the end that was noted; the note is gone then."""
    record = begin(tmp_path)
    (tmp_path / "metrics.json").write_text('{"psnr": 20.0}')
    note_exit(tmp_path, record, ("metrics.json",))
    done = complete(tmp_path, record)
    assert (done.status, done.cause, done.metrics) == ("done", Cause.OK, {"psnr": 20.0})
    assert done.last.end > THEN
    assert read_record(tmp_path) == done
    assert not (tmp_path / NOTE).exists()


@pytest.mark.parametrize(
    "wrong", ["no note", "half a note", "old output", "no output", "other attempt", "failed"]
)
def test_what_is_not_known_to_have_ended_well_stays(tmp_path, wrong):
    """Unknown is never success: the scene is trained again."""
    record = begin(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    note_exit(tmp_path, record, ("metrics.json",))
    if wrong == "no note":
        (tmp_path / NOTE).unlink()
    if wrong == "half a note":
        (tmp_path / NOTE).write_text('{"pid": 1')
    if wrong == "old output":
        os.utime(tmp_path / "metrics.json", (999, 999))
    if wrong == "no output":
        (tmp_path / "metrics.json").unlink()
    if wrong == "other attempt":
        record = begin(tmp_path, datetime(2026, 1, 2, tzinfo=UTC))
    if wrong == "failed":
        record = record.ended(Cause.CONFIG, 2, "no")
    assert complete(tmp_path, record) == record
    assert complete(tmp_path, None) is None
