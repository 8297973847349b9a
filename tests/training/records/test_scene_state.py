"""The rules that join a record, its claim's holder and a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from training.records.claim import Holder, acquire
from training.records.record import Attempt, Cause, RecordError, RunRecord
from training.records.scene_state import (
    SceneState,
    attempts_since,
    has_ended_since,
    has_failed_since,
    is_running,
    living_holder,
    seconds_left,
    was_killed,
)
from training.system.processes import process_id

THEN = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, AFTER = THEN - timedelta(seconds=1), THEN + timedelta(seconds=1)
HOLDER = Holder(process_id(1), process_id(1), "then")


def record_of(*starts: datetime, cause: Cause | None = Cause.OK) -> RunRecord:
    """A record with attempts that began at these moments, the last one ended by `cause`."""
    record = RunRecord(scene="a", exp_name="exp", fingerprint="f", status="running")
    for start in starts:
        record = record.started(Attempt(start=start, host="n1", pid=1))
    return record if cause is None else record.ended(cause, 0, "")


RUNNING = record_of(AFTER, cause=None)


@pytest.mark.parametrize(
    ("record", "holder", "running", "killed"),
    [
        (RUNNING, HOLDER, True, False),
        (RUNNING, None, False, True),
        (record_of(AFTER), HOLDER, False, False),
        (record_of(AFTER), None, False, False),
        (None, HOLDER, False, False),
        (None, None, False, False),
    ],
)
def test_a_running_record_without_a_living_holder_means_killed(record, holder, running, killed):
    """With one it runs; a holder alone, who has not written a record yet, is no attempt."""
    assert is_running(record, holder) is running
    assert was_killed(record, holder) is killed


@pytest.mark.parametrize(
    ("record", "count", "ended", "failed"),
    [
        (None, 0, False, False),
        (RunRecord(scene="a", exp_name="e", fingerprint="f", status="failed"), 0, False, False),
        (record_of(BEFORE), 0, False, False),
        (record_of(THEN), 1, True, False),
        (record_of(BEFORE, THEN, AFTER, cause=Cause.TIMEOUT), 2, True, True),
        (record_of(BEFORE, cause=Cause.TIMEOUT), 0, False, False),
        (record_of(BEFORE, AFTER, cause=Cause.CANCELLED), 1, True, False),
        (record_of(BEFORE, AFTER, cause=None), 1, False, False),
    ],
)
def test_what_has_ended_since_a_moment(record, count, ended, failed):
    """The last attempt began at that moment or later, and is over."""
    assert attempts_since(record, THEN) == count
    assert has_ended_since(record, THEN) is ended
    assert has_failed_since(record, THEN) is failed


def test_the_claim_is_read_only_for_a_record_that_says_running(tmp_path):
    """So that a table of a thousand done scenes reads no claim; an unreadable one is an error."""
    acquire(tmp_path, launcher=1)
    assert living_holder(tmp_path, RUNNING) is not None
    assert living_holder(tmp_path, record_of(AFTER)) is None
    assert living_holder(tmp_path / "free", RUNNING) is None
    (tmp_path / ".claim" / "000001.json").write_text("{")
    assert living_holder(tmp_path, None) is None
    with pytest.raises(RecordError, match="not a readable claim"):
        living_holder(tmp_path, RUNNING)


def scene(state, elapsed_s=None, left_s=None):
    return SceneState("a", state, Path("/log"), elapsed_s=elapsed_s, left_s=left_s)


@pytest.mark.parametrize(
    ("scenes", "parallelism", "seconds"),
    [
        ([scene("done", 100), scene("done", 300), scene("running", 50)], 1, 150),
        ([scene("done", 100), *[scene("queued")] * 4], 2, 200),
        ([scene("done", 100), scene("running", 500), scene("queued")], 1, 100),
        ([scene("queued"), scene("running", 5)], 1, None),
        ([scene("done", 100)], 1, None),
        ([scene("running", 60, left_s=40)], 1, 40),
        ([scene("running", 500, left_s=40), scene("done", 100)], 1, 40),
        ([scene("running", 60, left_s=40), scene("queued")], 1, 140),
        ([scene("cancelled", 5), scene("queued")], 1, None),
    ],
)
def test_the_time_left_is_estimated(scenes, parallelism, seconds):
    """Each by its own progress, else by the mean of the others, shared by those that run at once.

    A cancelled one does not count as done.
    """
    assert seconds_left(scenes, parallelism) == seconds


def test_this_attempts_time_is_told_apart_from_that_of_all():
    """A running attempt counts for both."""
    first, second = (
        attempt.model_copy(update={"end": attempt.start + timedelta(seconds=seconds)})
        for attempt, seconds in zip(record_of(BEFORE, THEN).attempts, (5, 2), strict=True)
    )
    ended = SceneState("a", "done", Path("/log"), attempts=(first, second), elapsed_s=2.0)
    assert (ended.last_attempt_s, ended.all_attempts_s) == (2.0, 7.0)
    open_one = second.model_copy(update={"end": None, "cause": None})
    running = SceneState("a", "running", Path("/log"), attempts=(first, open_one), elapsed_s=7.0)
    assert (running.last_attempt_s, running.all_attempts_s) == (7.0, 12.0)
