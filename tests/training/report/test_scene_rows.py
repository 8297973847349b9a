"""A scene's row: one derivation from record and claim for status table, reports and run page."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from page_lab import planned, record

from training.records.claim import acquire
from training.records.record import Cause
from training.report.scene_rows import row_of


@pytest.fixture
def scene(tmp_path):
    (scene,) = planned(tmp_path, "hi4d_a").scenes
    return scene


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (Cause.OK, "done"),
        (Cause.TIMEOUT, "failed (timeout)"),
        (Cause.CANCELLED, "cancelled"),
        (None, "failed (killed)"),
    ],
)
def test_state_and_cause_come_from_the_record(scene, cause, expected):
    """Only a failure has a cause; an attempt that runs without a holder was killed."""
    record(scene, cause)
    assert row_of(scene.name, scene.output).state_and_cause == expected


def test_an_attempt_whose_claim_is_held_runs(scene):
    """Its holder lives, as the record says."""
    record(scene, None)
    acquire(scene.output, os.getpid())
    assert row_of(scene.name, scene.output).state == "running"


def test_attempts_place_and_time_come_from_the_record(scene):
    """Of the last attempt the node and job, of all attempts the time."""
    record(scene, Cause.TRAINER_ERROR, minutes=5)
    row = row_of(scene.name, scene.output)
    assert (len(row.attempts), row.node, row.job_id) == (1, "n1", "12")
    assert row.elapsed_s == row.total_s == timedelta(minutes=5).total_seconds()
    assert row.dataset == "hi4d"


def test_a_scene_without_record_has_not_started(scene):
    """It has no attempt, and no time either."""
    row = row_of(scene.name, scene.output)
    assert (row.state, row.attempts, row.elapsed_s) == ("not started", (), None)


def test_a_record_that_can_not_be_read_is_a_failure(scene):
    """It is named: unknown is never success."""
    scene.output.mkdir(parents=True)
    (scene.output / "run.json").write_text("{")
    row = row_of(scene.name, scene.output)
    assert row.state_and_cause == "failed (unreadable record)"
    assert str(scene.output / "run.json") in row.message


def test_only_a_done_scene_has_metrics(scene):
    """Those of a failed attempt may be of anything."""
    record(scene, Cause.TIMEOUT, psnr=20.0)
    assert row_of(scene.name, scene.output).numbers == {}
