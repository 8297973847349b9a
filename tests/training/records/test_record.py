"""The run record on disk: what this version, an older and a newer one write."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from training.records.record import (
    RECORD,
    RECORD_VERSION,
    Attempt,
    Cause,
    RecordError,
    RunRecord,
    now,
    read_record,
    write_record,
)

VERSION_1 = """{
 "schema_version": 1,
 "scene": "dance",
 "exp_name": "exp",
 "fingerprint": "5f2c",
 "status": "done",
 "attempts": [
  {
   "start": "2026-03-01T08:00:00.123456Z",
   "host": "n1",
   "pid": 4711,
   "end": "2026-03-01T09:00:00.123456Z",
   "exit_status": null,
   "cause": "preempted",
   "message": "Slurm: job 12_3 on n1 ended as PREEMPTED",
   "slurm_job_id": "12_3"
  },
  {
   "start": "2026-03-01T09:10:00Z",
   "host": "n2",
   "pid": 4712,
   "end": "2026-03-01T10:00:00Z",
   "exit_status": 0,
   "cause": "ok",
   "message": "",
   "slurm_job_id": "12_3"
  }
 ],
 "metrics": {
  "psnr": 24.5,
  "before": {
   "psnr": 9.25
  }
 }
}
"""
"""As the version before this one wrote it, to the letter."""


def edited(**changes):
    """The old record with other values; a value of None leaves the key out."""
    content = json.loads(VERSION_1) | changes
    return json.dumps({key: value for key, value in content.items() if value is not None})


@pytest.mark.parametrize("text", [VERSION_1, edited(schema_version=None)])
def test_a_record_of_the_version_before_is_read_and_counts(tmp_path, text):
    """Done stays done, with its attempts and metrics; a record without a version is as old."""
    (tmp_path / RECORD).write_text(text)
    record = read_record(tmp_path)
    assert (record.schema_version, record.status, record.cause) == (1, "done", Cause.OK)
    assert record.fingerprint == "5f2c"
    assert record.seconds == 3600 + 3000
    assert record.attempts[0].slurm_job_id == "12_3"
    assert record.attempts[0].start == datetime(2026, 3, 1, 8, 0, 0, 123456, UTC)
    assert record.metrics["before"] == {"psnr": 9.25}


def test_an_old_record_stays_of_its_version_when_an_attempt_is_added(tmp_path):
    """Its fingerprint was made by the rules of that version."""
    (tmp_path / RECORD).write_text(VERSION_1)
    attempt = Attempt(start=datetime(2026, 4, 1, tzinfo=UTC), host="n1", pid=1)
    write_record(tmp_path, read_record(tmp_path).started(attempt))
    again = read_record(tmp_path)
    assert (again.schema_version, len(again.attempts)) == (1, 3)


def test_a_new_record_names_its_version(tmp_path):
    """An older program refuses it instead of training its scene again."""
    record = RunRecord(scene="a", exp_name="exp", fingerprint="f", status="running")
    write_record(tmp_path, record)
    assert json.loads((tmp_path / RECORD).read_text())["schema_version"] == RECORD_VERSION
    assert read_record(tmp_path) == record


def test_a_record_of_a_newer_version_is_refused_by_name(tmp_path):
    """Whatever else has changed in it: the message names both versions and the way out."""
    (tmp_path / RECORD).write_text(edited(schema_version=RECORD_VERSION + 1, status=["new"]))
    with pytest.raises(RecordError) as caught:
        read_record(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / RECORD} was written by a newer version of this program (format"
        f" {RECORD_VERSION + 1}; this one reads up to {RECORD_VERSION}): update the program, or"
        " move the file away"
    )


def test_unknown_keys_of_the_same_version_are_ignored(tmp_path):
    """A later release may add a key without a new version, in the record and in its attempts."""
    attempts = [{**json.loads(VERSION_1)["attempts"][1], "gpu": "H200"}]
    text = edited(attempts=attempts, priority=3, schema_version=RECORD_VERSION)
    (tmp_path / RECORD).write_text(text)
    assert read_record(tmp_path).status == "done"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "EOF"),
        ('{"status": "done"', "EOF"),
        ("[1]", "not a JSON object"),
        ("[" * 10_000, "recursion"),
        ("\udce4", "expected value"),
        (edited(status="finished"), "status: Input should be 'running', 'done'"),
        (edited(schema_version="two"), "schema_version: "),
        (edited(schema_version=0), "schema_version: "),
        (edited(fingerprint=None), "fingerprint: Field required"),
    ],
)
def test_what_is_no_record_is_an_error_that_says_why(tmp_path, text, reason):
    """With the file, the first thing wrong with it, and the remedy; never a fresh start."""
    (tmp_path / RECORD).write_text(text, errors="surrogateescape")
    with pytest.raises(RecordError, match="is not a readable run record") as caught:
        read_record(tmp_path)
    message = str(caught.value)
    assert reason in message
    assert str(tmp_path / RECORD) in message
    assert message.endswith("move the scene's output folder aside and run again")


def test_a_folder_without_a_record_has_none(tmp_path):
    """Nor has one that is not there."""
    assert read_record(tmp_path) is None
    assert read_record(tmp_path / "none") is None


def test_what_people_are_shown_has_nothing_that_a_terminal_obeys(tmp_path):
    """Colours are left out, what else controls a terminal is escaped, whoever wrote the record."""
    message = "\x1b[31mno\x1b[0m\x1b]0;title\x07\x9b2J number\n"
    record = RunRecord(scene="a", exp_name="exp", fingerprint="f", status="running")
    record = record.started(Attempt(start=now(), host="n1\x07", pid=1, slurm_job_id="1\x07"))
    write_record(tmp_path, record.ended(Cause.TRAINER_ERROR, 1, message))
    last = read_record(tmp_path).last
    assert last.message == r"no\x1b]0;title\x07\x9b2J number" + "\n"
    assert (last.host, last.slurm_job_id) == (r"n1\x07", r"1\x07")


def test_an_attempt_does_not_end_before_it_began():
    """The clock may be set back while it runs: no report has negative hours."""
    attempt = Attempt(start=now() + timedelta(hours=1), host="n1", pid=1)
    record = RunRecord(scene="a", exp_name="exp", fingerprint="f", status="running")
    assert record.started(attempt).ended(Cause.OK, 0, "").seconds == 0
