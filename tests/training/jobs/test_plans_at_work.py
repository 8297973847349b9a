"""Of many plans the newest are read, and those that somebody is at work on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from report_lab import START, planned

from training.execution.launcher_process import note_launcher
from training.jobs.status import take_snapshot
from training.plan import experiments
from training.plan.experiments import find_experiment
from training.system.paths import Roots


@pytest.fixture
def roots(tmp_path):
    return Roots(
        results_root=tmp_path / "results", scene_data_root=tmp_path, state_root=tmp_path / "state"
    )


def test_what_a_living_launcher_has_still_to_start_is_shown_however_old_its_plan_is(
    roots, monkeypatch
):
    """Ten thousand scenes make plans of megabytes, of which no more than so many are read."""
    oldest = planned(roots, "a_1", "a_2")
    planned(roots, "b_1", created=START + timedelta(hours=1))
    planned(roots, "c_1", created=START + timedelta(hours=2))
    monkeypatch.setattr(experiments, "MOST_BYTES", 1)
    note_launcher(oldest.file)
    snapshot = take_snapshot(find_experiment("exp", roots))
    states = {each.scene: each.state for each in snapshot.scenes}
    assert states == {"a_1": "queued", "a_2": "queued", "c_1": "not started"}
    assert snapshot.is_active
