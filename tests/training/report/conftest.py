"""Roots of an experiment's records, plans and reports."""

from __future__ import annotations

import pytest

from training.system.paths import Roots


@pytest.fixture
def roots(tmp_path, monkeypatch):
    made = Roots(
        results_root=tmp_path / "results", scene_data_root=tmp_path, state_root=tmp_path / "state"
    )
    monkeypatch.setenv("TS_RESULTS_ROOT", str(made.results_root))
    monkeypatch.setenv("TS_STATE_ROOT", str(made.state_root))
    return made
