"""The page of --watch fits windows of any size, with a bar above the table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.text import Text

from training.cli import watch
from training.jobs.status import Queue, Snapshot
from training.plan.experiments import Experiment
from training.records.record import Attempt, Cause, now
from training.records.scene_state import SceneState
from training.system.paths import Roots

LOG = Path("/results/experiments/of/somebody/train.log")
HALF = {"epoch": 5, "epochs": 10, "loss": 0.25}


def scenes():
    """One that runs for the second time, done, failed and cancelled ones."""
    moment = now()
    first = Attempt(start=moment, end=moment, cause=Cause.PREEMPTED, host="node1", pid=1)
    second = Attempt(start=moment, host="node2", pid=1, slurm_job_id="12_3")
    running = SceneState(
        "synthetic_pair01_wave", "running", LOG, attempts=(first, second), node="node2",
        job_id="12_3", elapsed_s=60.0, progress=HALF, left_s=60.0,
    )  # fmt: skip
    failed = [SceneState(f"hi4d_{n}", "failed", LOG, "timeout", message="w" * 99) for n in "ab"]
    ended = [SceneState("hi4d_süß_北京", "done", LOG), SceneState("hi4d_c", "cancelled", LOG)]
    return (running, *failed, *ended)


def page(tmp_path, columns, lines):
    roots = Roots(results_root=tmp_path, scene_data_root=tmp_path, state_root=tmp_path)
    snapshot = Snapshot(Experiment("exp", roots, ()), scenes(), Queue(), (), 2)
    return watch.page([snapshot], os.terminal_size((columns, lines)))


def test_the_table_has_a_bar_progress_and_both_times(tmp_path):
    """Cancelled scenes do not count as done; half a running one moves the bar."""
    bar, *rows = page(tmp_path, 200, 50)
    assert bar.startswith("exp ━")
    assert bar.endswith(" 1 of 5 done")
    heavy, light = bar.count("━"), bar.count("─")
    assert heavy / (heavy + light) == pytest.approx(3.5 / 5, abs=0.02)
    (running,) = [row.split() for row in rows if row.startswith("synthetic")]
    assert running[1:4] == ["running", "epoch", "5/10"]
    assert running.count("1:00") == 2, "of this attempt, and of all"
    assert "2 scenes failed (timeout): hi4d_a, hi4d_b" in rows
    assert any("about 1:00 left" in row for row in rows)


@pytest.mark.parametrize("columns", [1, 20, 50, 80, 200])
@pytest.mark.parametrize("lines", [2, 3, 10, 24, 50])
def test_in_a_window_of_any_size_nothing_wraps_or_scrolls(tmp_path, columns, lines, monkeypatch):
    """With colours too, which take no place."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = [Text.from_ansi(line) for line in page(tmp_path, columns, lines)]
    assert len(shown) < lines
    assert max(line.cell_len for line in shown) <= columns


def test_a_window_of_one_line_shows_the_bar(tmp_path, monkeypatch, capsys):
    """Without a line end, which would scroll it away."""
    (bar,) = page(tmp_path, 80, 1)
    assert bar.endswith(" 1 of 5 done")
    size = os.terminal_size((80, 1))
    monkeypatch.setattr(watch.shutil, "get_terminal_size", lambda: size)
    monkeypatch.setattr(watch, "page", lambda *_: [bar])
    watch._draw([], is_first=True)
    assert capsys.readouterr().out == f"{watch.CLEAR}{bar}{watch.CLEAR_BELOW}"
