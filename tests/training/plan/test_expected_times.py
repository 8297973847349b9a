"""The longest scenes start first, by how long they took in earlier experiments."""

from __future__ import annotations

import os

import pytest

from training.configuration.configuration_file import SCRIPT
from training.plan.expected_times import (
    EPOCHS,
    FormerTimes,
    expected_seconds,
    former_times,
)
from training.plan.make_plan import make_plan
from training.plan.options import LaunchOptions
from training.records.record import Attempt, Cause, RunRecord, now, write_record
from training.report.scene_rows import collect
from training.report.write import write_report
from training.system.paths import Roots


@pytest.fixture
def roots(tmp_path):
    """Result and state folders of the test."""
    return Roots(results_root=tmp_path / "r", scene_data_root=tmp_path, state_root=tmp_path / "s")


@pytest.fixture
def trained(roots, monkeypatch):
    """Return a function that reports an experiment of scenes that took so many minutes."""
    monkeypatch.setattr("training.report.write.write_plots", lambda *_: [])

    def trained(exp_name, age, epochs=None, script="script.py", **minutes):
        configuration = {SCRIPT: script, **({} if epochs is None else {EPOCHS: epochs})}
        for scene, took in minutes.items():
            begun = RunRecord(
                scene=scene,
                exp_name=exp_name,
                fingerprint="f",
                configuration=configuration,
                status="running",
            ).started(Attempt(start=now(), host="n", pid=1))
            record = begun.ended(Cause.OK, 0, "")
            last = record.last.model_copy(update={"start": record.last.end - took * 60 * second()})
            output = roots.output_folder(scene, exp_name)
            output.mkdir(parents=True)
            write_record(output, record.model_copy(update={"attempts": (last,)}))
        written = write_report(roots, exp_name, collect(roots, exp_name, []))
        os.utime(written.metrics_csv, (10_000 - age, 10_000 - age))

    return trained


def second():
    from datetime import timedelta

    return timedelta(seconds=1)


def test_times_come_from_the_newest_reports(roots, trained):
    """The same number of epochs counts before a newer report, other ones are scaled."""
    trained("old", age=9, epochs=30, a=2, b=4)
    trained("new", age=1, epochs=60, a=5, c=8)
    former = former_times(roots, "")
    assert former == [
        FormerTimes({"a": 300.0, "c": 480.0}, 60.0, "script.py"),
        FormerTimes({"a": 120.0, "b": 240.0}, 30.0, "script.py"),
    ]
    assert expected_seconds(former, 30.0) == pytest.approx({"a": 120, "b": 240, "c": 240})
    assert expected_seconds(former, None) == pytest.approx({"a": 300, "b": 240, "c": 480})
    assert former_times(roots, "difix_data") == []


@pytest.mark.parametrize(
    "line", ["b,done", "b,done,", "b,done,soon", "b,done,nan", "b,done,1e999", "b,done,-5", "b"]
)
def test_a_damaged_table_is_read_as_far_as_it_is_whole(roots, line):
    """Cut off, or edited: what stands before it counts, and no launch fails by it."""
    table = roots.experiment_folder("exp") / "metrics.csv"
    table.parent.mkdir(parents=True)
    table.write_text(f"scene,status,seconds\na,done,60\n{line}\n")
    assert [each.seconds for each in former_times(roots, "")] == [{"a": 60.0}]
    table.write_text(f"scene,status,seconds\n{line}\n")
    assert former_times(roots, "") == []


def test_short_tries_neither_estimate_nor_hide_what_was_trained(roots, trained):
    """Two epochs say nothing of fifty: most of their time is the start."""
    trained("real", age=100, epochs=50, a=2, b=3)
    for number in range(6):
        trained(f"try{number}", age=number, epochs=2, a=1, b=1, c=1)
    former = former_times(roots, "")
    assert expected_seconds(former, 50.0) == pytest.approx({"a": 120, "b": 180})
    assert expected_seconds(former, 4.0) == pytest.approx({"a": 120, "b": 120, "c": 120})


def test_the_longest_scene_starts_first(roots, trained, tmp_path):
    """One without a record counts as the median; times that are about the same change nothing.

    Those that another trainer took say nothing.
    """
    trained("counted", age=0, script="counts.py", a=99, b=99, c=1, d=99, e=99)
    trained("before", age=1, a=1, b=3, c=30, d=3.2)
    registry = tmp_path / "registry"
    registry.mkdir()
    for name in "abcde":
        (registry / f"{name}.json").write_text(f'{{"seq_name": "{name}", "cam_id": 1}}')
    (tmp_path / "script.py").write_text("")
    options = LaunchOptions(
        exp_name="now",
        run_all=True,
        dry_run=True,
        scenes_dir=str(registry),
        train_script=str(tmp_path / "script.py"),
        **{key: str(value) for key, value in roots.model_dump().items()},
    )
    scenes = make_plan(options).scenes
    assert [scene.name for scene in scenes] == ["c", "b", "d", "e", "a"]
    assert [scene.expected_s for scene in scenes] == [1800, 180, 192, None, 60]
    (roots.experiment_folder("before") / "metrics.csv").write_text("scene;torn\x00")
    assert [scene.name for scene in make_plan(options).scenes] == ["a", "b", "c", "d", "e"]
