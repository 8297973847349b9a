"""The experiment's summary: made from records alone, complete or not, it names what is missing."""

from __future__ import annotations

import csv
import os
import socket

import pytest

from training.records.record import Attempt, Cause, RunRecord, now, write_record
from training.report.summary import summarise, table
from training.system.paths import Roots

METRICS = {
    "psnr": 21.5,
    "ssim": 0.8,
    "mpjpe_mm": 20.0,
    "lpips": None,
    "picture": "evaluation/comparison.png",
    "before": {"psnr": 16.0, "mpjpe_mm": 60.0},
}


@pytest.fixture
def roots(tmp_path):
    return Roots(
        results_root=tmp_path / "results", scene_data_root=tmp_path, state_root=tmp_path / "state"
    )


def record(roots, scene, cause=None, **metrics):
    """Write the record of a scene with one attempt; without a cause it still runs."""
    attempt = Attempt(start=now(), host=socket.gethostname(), pid=os.getpid())
    made = RunRecord(scene=scene, exp_name="exp", fingerprint="f", status="running")
    made = made.started(attempt)
    if cause is not None:
        made = made.ended(cause, 0, "", {**METRICS, **metrics})
    write_record(roots.output_folder(scene, "exp"), made)


def test_the_average_leaves_out_what_is_not_done(roots):
    """A failed and a never started scene are named; the mean is over the done ones."""
    record(roots, "a_1", Cause.OK, psnr=20.0)
    record(roots, "a_2", Cause.OK, psnr=22.0)
    record(roots, "a_3", Cause.TIMEOUT, psnr=1.0)
    summary = summarise(roots, "exp", ["a_1", "a_4"])
    report = summary.report.read_text()
    assert "2 of 4 scenes done" in report
    assert "| average | 2 done |  |  | 21.0 | 5.0 |" in report
    assert "- a_3: failed (timeout), log:" in report
    assert "- a_4: not started" in report


def test_metrics_csv_has_every_number_before_and_after(roots):
    """It has one row a scene; what a scene lacks is an empty cell."""
    record(roots, "a_1", Cause.OK)
    record(roots, "a_2", Cause.CONFIG)
    path = summarise(roots, "exp", []).metrics_csv
    with path.open() as stream:
        done, failed = csv.DictReader(stream)
    assert (done["psnr"], done["before_psnr"], done["status"]) == ("21.5", "16.0", "done")
    assert (failed["psnr"], failed["cause"]) == ("", "config")


def test_a_killed_attempt_is_not_shown_as_running(roots):
    """A record that says running without a living holder is a failure."""
    record(roots, "a_1")
    assert summarise(roots, "exp", []).rows[0].state == "failed"


def test_a_broken_record_is_shown_and_does_not_hide_the_others(roots):
    """Unknown is never success."""
    record(roots, "a_1", Cause.OK)
    broken = roots.output_folder("a_2", "exp")
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{")
    summary = summarise(roots, "exp", [])
    assert [row.state_and_cause for row in summary.rows] == ["done", "failed (unreadable record)"]


def test_the_terminal_gets_the_table_and_a_picture(roots):
    """The last lines name a picture of a done scene and the report."""
    record(roots, "a_1", Cause.OK)
    summarise(roots, "exp", [])
    *_, picture, report = table(roots, "exp", []).splitlines()
    assert picture.endswith("results/a_1/exp/evaluation/comparison.png")
    assert report.endswith("report.md")
