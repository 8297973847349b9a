"""Which cameras and frames are evaluated."""

from __future__ import annotations

import itertools

import pytest

from preprocess.faults import FaultsError
from training.trainer.cameras.camera_ids import choose_cameras
from training.trainer.config.compose import load_config
from training.trainer.evaluation.evaluated_views import choose_exported, choose_views

TRUE = [4, 16, 28, 40, 52, 64, 76, 88]
FRAMES = [1, 2, 3, 5, 8, 13, 21]
CAPTURED = (
    "train.nv_generation.trn_nv_gen.source=captured",
    "train.nv_generation.trn_nv_gen.num_cameras=1",
    "train.nv_generation.trn_nv_gen.captured_cameras=[88]",
)


def choose(*overrides, true=TRUE, frames=FRAMES):
    keys = [f"train.evaluation.{text}" if text.startswith("eval") else text for text in overrides]
    config = load_config(["shared.scene_name=a", "shared.exp_name=b", *keys])
    return choose_views(config.train.evaluation, choose_cameras(config, 28, true), true, frames)


@pytest.mark.parametrize(
    ("wanted", "chosen"), [("null", ()), ("all", tuple(range(7))), ("[2,8]", (1, 4)), ("1", (3,))]
)
def test_poses_of_no_frame_are_exported_but_where_some_are_named(wanted, chosen):
    assert exported(wanted) == chosen


def test_a_frame_that_is_not_trained_on_is_not_exported():
    """The key is named, not that of evaluations."""
    with pytest.raises(FaultsError, match="posed_frames names a frame that is not trained on: 4"):
        exported("[4]")


def exported(wanted):
    keys = [f"train.export.posed_frames={wanted}", "shared.scene_name=a", "shared.exp_name=b"]
    return choose_exported(load_config(keys).train.export, FRAMES)


def test_by_default_all_held_out_cameras_and_a_bounded_number_of_frames():
    """A short scene has all its frames evaluated, one of 150 frames 30 of them, evenly spread."""
    assert choose().cameras == (16, 52, 76)
    assert choose().indices == tuple(range(7))
    many = choose(frames=range(150)).indices
    assert len(many) == 30
    gaps = {after - before for before, after in itertools.pairwise(many)}
    assert max(gaps) - min(gaps) <= 1
    assert many[0] < 10
    assert many[-1] >= 140


def test_fewer_or_other_cameras():
    """A number thins out the held-out ones; unseen are all that training does not see."""
    assert choose("eval_cameras=1").cameras == (52,)
    assert choose("eval_cameras=9").cameras == (16, 52, 76)
    assert choose("eval_cameras=[40,4]").cameras == (40, 4)
    assert choose("eval_cameras=unseen", *CAPTURED).cameras == (4, 16, 40, 52, 64, 76)


def test_frames_by_number_are_indices_among_those_trained_on():
    """A skipped frame has no pose, so the index is not the number."""
    assert choose("eval_frames=[13,1,13]").indices == (5, 0)
    assert choose("eval_frames=all", frames=range(150)).indices == tuple(range(150))
    assert choose("eval_frames=2").indices == (1, 4)


def test_a_scene_without_truth_has_no_camera_to_evaluate():
    """It is trained all the same."""
    assert choose(true=[]).cameras == ()
    assert choose("eval_cameras=unseen", true=[]).cameras == ()


def test_cameras_and_frames_that_cannot_be_evaluated_are_all_named():
    """Trained on, not there, or without a pose; each with a remedy."""
    with pytest.raises(FaultsError) as caught:
        choose("eval_cameras=[28,88,5]", "eval_frames=[4,6]", *CAPTURED)
    said = str(caught.value)
    assert "a camera that is trained on: 28" in said
    assert "a camera that is trained on: 88" in said
    assert "a camera that the truth lacks: 5" in said
    assert "a frame that is not trained on: 4\n    -> nearest: 1, 2, 3, 5, 8" in said
    assert "a frame that is not trained on: 6" in said
