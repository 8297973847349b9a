"""How many task runs of a plan exist at once, and when no more are submitted."""

from __future__ import annotations

import types
from concurrent.futures import Future
from uuid import uuid4

import pytest
from page_lab import planned, record

from flows.adapters.prefect_adapter import as_prefect_future
from flows.runner import scene_events
from flows.runner.scene_events import CancelledElsewhereError, SceneEvents
from flows.runner.tasks import SceneNotDoneError
from training.records.outcome import Outcome
from training.records.record import Cause

AT_ONCE, WAITING = 3, 5


@pytest.fixture
def plan(tmp_path):
    """A plan of fifty scenes, of which nothing runs."""
    made = planned(tmp_path, *(f"s{number:02}" for number in range(50)))
    made.cancelled.parent.mkdir(parents=True)
    return made


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


@pytest.mark.parametrize(("former", "expected"), [(0, True), (1, True), (2, False)])
def test_attempts_of_a_controllers_earlier_starts_count_as_retries(plan, former, expected):
    """Else each loss of the controller would give a scene all its retries again."""
    scene = plan.scenes[0].model_copy(update={"former_attempts": former})
    plan = plan.model_copy(update={"scenes": (scene,), "max_retries": 2})
    lost = Outcome(scene=scene.name, status="failed", cause=Cause.NODE_FAILURE, log=scene.log)
    task_run = types.SimpleNamespace(name=scene.name, run_count=1)
    events, asked = SceneEvents(plan), []
    task = types.SimpleNamespace(with_options=lambda **options: asked.append(options))
    events.with_hooks(task)
    events._started(task_run)
    state = types.SimpleNamespace(data=SceneNotDoneError(lost, ()))
    assert asked[0]["retry_condition_fn"](None, task_run, state) is expected


def test_failures_of_a_controllers_earlier_starts_count_against_max_failures(plan, scenes):
    """Else each start would train on until so many more have failed."""
    first, *others = plan.scenes
    record(first, Cause.TRAINER_ERROR)
    ended = first.model_copy(update={"action": "skip"})
    plan = plan.model_copy(update={"scenes": (ended, *others), "max_failures": 1})
    assert SceneEvents(plan).run(plan.of("run"), scenes.submit, AT_ONCE) == []
    assert plan.enough_failures.exists()
