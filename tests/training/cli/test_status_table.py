"""The table of --status: what it shows of many scenes, of failures, and of the time left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.cli import status_table
from training.jobs.status import Queue, Snapshot
from training.plan.experiments import Experiment
from training.records.scene_state import SceneState
from training.report.failures import failure_lines
from training.system.paths import Roots


def snapshot(tmp_path, *scenes, parallelism=2, **queue):
    roots = Roots(results_root=tmp_path, scene_data_root=tmp_path, state_root=tmp_path)
    experiment = Experiment("exp", roots, ())
    return Snapshot(experiment, scenes, Queue(**queue), (), parallelism)


def scene(name, state, elapsed_s=None):
    return SceneState(name, state, Path("log"), elapsed_s=elapsed_s)


def test_the_estimate_uses_the_done_scenes_and_the_parallelism(tmp_path):
    """Two at once, 100 s each: the rest of the running scenes, then the queued ones."""
    running = [scene("b", "running", 60), scene("c", "running", 10)]
    done, queued = scene("a", "done", 100), scene("d", "queued")
    assert snapshot(tmp_path, done, *running, queued).seconds_left == (40 + 90 + 100) / 2
    assert snapshot(tmp_path, done, queued, queued, queued).seconds_left == 150
    assert snapshot(tmp_path, done, scene("b", "running", 200)).seconds_left == 0
    assert snapshot(tmp_path, queued).seconds_left is None
    assert snapshot(tmp_path, done).seconds_left is None


def test_an_unknown_queue_counts_as_active(tmp_path):
    """Unless every scene is done: then nothing can be queued."""
    unknown = "squeue: away"
    halfway = snapshot(tmp_path, scene("a", "failed"), unknown=unknown)
    assert halfway.is_active
    assert "Slurm does not answer: squeue: away" in status_table.render(halfway)
    assert snapshot(tmp_path, scene("a", "done"), unknown=unknown).is_done


def test_a_short_table_shows_what_a_person_looks_for(tmp_path):
    """Of a thousand scenes on a small terminal: running and failed ones, and how many more."""
    scenes = [scene(f"s{i:03}", "done", 1) for i in range(997)]
    scenes += [scene("x", "running"), scene("y", "failed"), scene("z", "queued")]
    lines = status_table.render(snapshot(tmp_path, *scenes), 4).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["s000", "x", "y", "z"]
    assert lines[5] == "… and 996 more scenes"


def test_failures_are_shown_with_their_messages(tmp_path):
    """One line for the cause, the first five with message and log, and how many more."""
    failed = [
        replace(scene(f"s{i}", "failed"), message=f"why {i}", log=Path(f"s{i}/log"))
        for i in range(8)
    ]
    text = status_table.render(snapshot(tmp_path, *failed, scene("x", "done", 1)))
    assert "8 scenes failed: s0, s1, s2, s3, s4, s5, s6, s7\n    s0: why 0\n" in text
    assert "s4: why 4\n    log: s4/log\n    … and 3 more, logs: <scene>/log\n" in text
    assert "why 5" not in text
    swept = [
        replace(each, scene=f"seed=1/{each.scene}", log=Path(each.scene, "sw/seed=1/log"))
        for each in failed
    ]
    assert "3 more, logs: <scene>/sw/<setting>/log" in "\n".join(failure_lines(swept))


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (3723.9, "1:02:03"), (172800, "2-00:00:00")]
)
def test_durations_have_slurms_format(seconds, text):
    """The same format as --time."""
    assert status_table.clock(seconds) == text
