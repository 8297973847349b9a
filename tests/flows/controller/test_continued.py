"""What is left to run when a controller's flow starts again."""

from __future__ import annotations

import pytest
from page_lab import planned, record

from flows.controller.continued import continued, continued_all, new_ids
from flows.runner.scene_events import SceneEvents
from training.plan.model import AggregatePlan, LoopStage
from training.records.aggregate_record import AggregateRecord, write_aggregate
from training.records.record import Cause, now


@pytest.mark.parametrize(
    ("cause", "action"),
    [
        (Cause.OK, "skip"),
        (Cause.TRAINER_ERROR, "skip"),
        (Cause.CANCELLED, "skip"),
        (Cause.OUT_OF_MEMORY, "skip"),
        (Cause.TIMEOUT, "skip"),
        (Cause.NODE_FAILURE, "run"),
    ],
)
def test_a_scene_is_started_again_by_the_same_policy(tmp_path, cause, action):
    """What failed by itself in an earlier start fails again; what was lost is tried again."""
    plan = planned(tmp_path, "a", "b", max_retries=1, b="held")
    record(plan.scenes[0], cause)
    left = continued(plan, {"p": "p2"})
    assert [scene.action for scene in left.scenes] == [action, "held"]
    assert (left.plan_id, left.created) == ("p2", plan.created)
    assert {scene.cancelled for scene in left.scenes} == {left.cancelled}


def test_a_timeout_goes_on_where_it_has_a_checkpoint(tmp_path):
    plan = planned(tmp_path, "a", max_retries=1)
    record(plan.scenes[0], Cause.TIMEOUT)
    checkpoints = plan.scenes[0].output / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "1.pt").touch()
    assert continued(plan, {"p": "p2"}).scenes[0].action == "run"


def test_a_scene_that_ran_out_of_memory_beside_others_is_tried_again_alone(tmp_path):
    """As within one start, which knows it from its own bound."""
    plan = planned(tmp_path, "a", "b", max_retries=1)
    plan = plan.model_copy(update={"scenes_per_gpu": 4})
    record(plan.scenes[0], Cause.OUT_OF_MEMORY, scenes_on_gpu=4)
    left = continued(plan, {"p": "p2"})
    assert [scene.action for scene in left.scenes] == ["run", "run"]
    sharing = SceneEvents(left).sharing
    assert [sharing.bound_of(scene) for scene in "ab"] == [1, 4]


def test_attempts_of_earlier_starts_count(tmp_path):
    """Else a scene that loses its node each time would be tried for ever."""
    plan = planned(tmp_path, "a", "runs", max_retries=0)
    record(plan.scenes[0], Cause.NODE_FAILURE)
    record(plan.scenes[1], None)
    scenes = continued(plan, {"p": "p2"}).scenes
    assert (scenes[0].action, scenes[0].reason) == ("skip", "node_failure")
    assert [scene.former_attempts for scene in scenes] == [1, 0], "one is followed, not ended"


def test_an_earlier_failure_is_tried_once_more_as_it_was_planned(tmp_path):
    """A record from before the plan says nothing about this run."""
    plan = planned(tmp_path, "a")
    record(plan.scenes[0], Cause.TRAINER_ERROR, before_plan=True)
    assert continued(plan, new_ids([plan])).scenes[0].action == "run"


def test_the_stages_of_a_loop_know_each_other_by_their_new_ids(tmp_path):
    stage = LoopStage(name="data", after=("train",), loop="exp", plans=("other", "p"))
    plan = planned(tmp_path, "a").model_copy(update={"stage": stage})
    left = continued(plan, {"p": "p2", "other": "other2"})
    assert left.stage.plans == ("other2", "p2")


@pytest.mark.parametrize(
    ("status", "cause", "is_left"),
    [("done", Cause.OK, False), ("failed", Cause.OK, True), ("done", Cause.NODE_FAILURE, True)],
)
def test_what_a_loop_has_merged_is_not_merged_again(tmp_path, status, cause, is_left):
    """While the refiner waits in the queue, or a scene is to be done again first."""
    stage = LoopStage(name="generate", after=(), loop="exp", plans=("p",))
    merge = AggregatePlan(log=tmp_path, job_name="m", time_limit_s=60, command=("merge",))
    plan = planned(tmp_path, "a", max_retries=1)
    plan = plan.model_copy(update={"stage": stage, "aggregate": merge})
    record(plan.scenes[0], cause)
    known = {"exp_name": "exp", "plan_id": "p", "scenes": ("a",), "start": now(), "log": tmp_path}
    folder = plan.roots.experiment_folder("exp")
    write_aggregate(folder, AggregateRecord(**known, status=status))
    (left,) = continued_all([plan], {"p": "p2"})
    assert (left.aggregate is not None) is is_left
    (alone,) = continued_all([plan.model_copy(update={"stage": None})], {"p": "p2"})
    assert alone.aggregate == merge
