"""How many task runs of a plan exist at once, and when no more are submitted."""

from __future__ import annotations

import types
from concurrent.futures import Future
from uuid import uuid4

import pytest

from flows.adapters.prefect_adapter import as_prefect_future
from flows.runner import scene_events
from flows.runner.scene_events import CancelledElsewhereError, SceneEvents

AT_ONCE, WAITING = 3, 5


@pytest.fixture
def plan(tmp_path):
    """A stand-in for a plan of fifty scenes, of which nothing runs."""
    scenes = [types.SimpleNamespace(name=f"s{number:02}") for number in range(50)]
    marks = {name: tmp_path / name for name in ("cancelled", "enough_failures")}
    return types.SimpleNamespace(scenes=scenes, stage=None, exp_name="e", scenes_per_gpu=1, **marks)


class Scenes:
    """Submits scenes to nobody; whenever somebody waits for them, all that are open end."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.most_open = 0
        self.on_end = lambda: None

    def submit(self, scene):
        self.submitted.append(scene.name)
        return as_prefect_future(types.SimpleNamespace(id=uuid4()), Future())

    def wait(self, futures, *_):
        self.most_open = max(self.most_open, len(futures))
        self.on_end()
        return types.SimpleNamespace(not_done=set())


@pytest.fixture
def scenes(monkeypatch):
    """Scenes that end at once, and a small window."""
    made = Scenes()
    monkeypatch.setattr(scene_events, "MOST_WAITING", WAITING)
    monkeypatch.setattr(scene_events, "viewer_of", lambda _: types.SimpleNamespace(refresh=int))
    monkeypatch.setattr(scene_events, "wait", made.wait)
    return made


def test_task_runs_are_submitted_in_a_window(plan, scenes):
    """Of ten thousand scenes most have no task run until there is room; all get one, in order."""
    futures = SceneEvents(plan).run(plan.scenes, scenes.submit, AT_ONCE)
    assert scenes.submitted == [scene.name for scene in plan.scenes]
    assert scenes.most_open == AT_ONCE + WAITING
    assert len(futures) == len({each.task_run_id for each in futures}) == len(plan.scenes)


def test_after_enough_failures_no_further_task_run_is_made(plan, scenes):
    """Thousands would come to the server only to say that they were not started."""
    scenes.on_end = plan.enough_failures.touch
    futures = SceneEvents(plan).run(plan.scenes, scenes.submit, AT_ONCE)
    assert len(futures) == len(scenes.submitted) == AT_ONCE + WAITING


def test_a_cancelled_plan_is_noticed_though_no_task_run_is_open(plan, scenes):
    """The rest of the scenes has not ended."""
    scenes.on_end = plan.cancelled.touch
    with pytest.raises(CancelledElsewhereError):
        SceneEvents(plan).run(plan.scenes, scenes.submit, AT_ONCE)
    assert len(scenes.submitted) < len(plan.scenes)
