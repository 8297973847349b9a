"""Data of synthetic scenes is built before they start."""

from __future__ import annotations

import pytest
from page_lab import planned

from preprocess.faults import FaultsError
from training.execution import local


def test_data_that_all_settings_of_a_sweep_share_is_missing_once(tmp_path):
    """And not at all once it is there."""
    plan = planned(tmp_path, "seed=1/a", "seed=2/a", "seed=1/b")
    scenes = tuple(each.model_copy(update={"scene": {"synthetic": {}}}) for each in plan.scenes)
    plan = plan.model_copy(update={"scenes": scenes})
    assert local.scenes_without_data([plan]) == ["a", "b"]
    (plan.roots.scene_data_root / "a").mkdir(parents=True)
    assert local.scenes_without_data([plan]) == ["b"]


def test_a_build_that_takes_too_long_is_a_fault(tmp_path, monkeypatch):
    """Not a traceback; the process that builds has ended by then."""
    plan = planned(tmp_path, "a")
    scenes = tuple(each.model_copy(update={"scene": {"synthetic": {}}}) for each in plan.scenes)
    monkeypatch.setattr(local, "BUILD_TIMEOUT_S", 0.01)
    with pytest.raises(FaultsError, match=r"stopped after 0\.01 s"):
        local.build_scene_data([plan.model_copy(update={"scenes": scenes})])
