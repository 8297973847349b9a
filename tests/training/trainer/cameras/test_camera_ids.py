"""Which cameras are used for what, and where virtual ones stand."""

from __future__ import annotations

import math

import pytest
import torch

from preprocess.faults import FaultsError
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.camera_ids import choose_cameras, evenly_spaced
from training.trainer.cameras.strategies import STRATEGIES, PeopleBounds, look_at
from training.trainer.config.compose import load_config

TRUE = [4, 16, 28, 40, 52, 64, 76, 88]
VIEWS = "train.nv_generation.trn_nv_gen"
HELD_OUT = "train.evaluation.held_out_cameras"
UP = torch.tensor([0.0, 1.0, 0.0])


def config(*overrides):
    return load_config(["shared.scene_name=a", "shared.exp_name=b", *overrides])


def faults(*overrides, source=28, true=TRUE):
    with pytest.raises(FaultsError) as caught:
        choose_cameras(config(*overrides), source, true)
    return str(caught.value)


def test_by_default_three_cameras_between_the_others_are_held_out():
    """The same ones whatever is captured, so that runs can be compared."""
    plain = choose_cameras(config(), 28, TRUE)
    assert (plain.source, plain.novel, plain.held_out) == (28, (), (16, 52, 76))
    captured = config(f"{VIEWS}.source=captured", f"{VIEWS}.num_cameras=4")
    chosen = choose_cameras(captured, 28, TRUE)
    assert (chosen.novel, chosen.held_out) == ((4, 40, 64, 88), (16, 52, 76))


def test_virtual_ids_follow_one_another():
    """Camera i has the id start_camera_id + i."""
    settings = config(f"{VIEWS}.num_cameras=5", f"{VIEWS}.start_camera_id=200")
    assert choose_cameras(settings, 28, TRUE).novel == (200, 201, 202, 203, 204)


def test_cameras_can_be_named():
    """Held-out and captured ones are taken by their ids."""
    named = config(
        f"{HELD_OUT}=[4,88]",
        f"{VIEWS}.source=captured",
        f"{VIEWS}.num_cameras=2",
        f"{VIEWS}.captured_cameras=[16,76]",
    )
    chosen = choose_cameras(named, 28, TRUE)
    assert (chosen.novel, chosen.held_out) == ((16, 76), (4, 88))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["num_cameras=5", "start_camera_id=25"], "is the source camera too: 28"),
        (["num_cameras=2", "start_camera_id=15"], "is a held-out camera too: 16"),
        (["num_cameras=5", "source=captured"], "5 of [4, 40, 64, 88]"),
        (
            ["num_cameras=2", "source=captured", "captured_cameras=[4,16]"],
            "held-out camera too: 16",
        ),
        (["num_cameras=1", "source=captured", "captured_cameras=[28]"], "source camera too: 28"),
        (["num_cameras=1", "source=captured", "captured_cameras=[5]"], "the truth lacks: 5"),
        (["num_cameras=2", "source=captured", "captured_cameras=[4]"], "num_cameras=1"),
    ],
)
def test_a_camera_is_never_used_twice(overrides, said):
    """Neither a virtual camera's id nor a true camera's may collide with another use."""
    assert said in faults(*(f"{VIEWS}.{item}" for item in overrides))


def test_held_out_cameras_must_exist_and_not_be_trained_on():
    """Both faults are reported at once."""
    said = faults(f"{HELD_OUT}=[28,5]")
    assert "names the source camera: 28" in said
    assert "the truth lacks: 5" in said


def test_nothing_can_be_captured_without_a_truth():
    """The remedy names the scene's key."""
    said = faults(f"{VIEWS}.source=captured", f"{VIEWS}.num_cameras=1", true=[])
    assert "raw_gt_dir_path" in said


def test_evenly_leaves_room_at_both_ends():
    """All ids are chosen where as many are wanted."""
    assert evenly_spaced(TRUE, 0) == []
    assert evenly_spaced(TRUE, 1) == [40]
    assert evenly_spaced(TRUE, 8) == TRUE


def scene(radius=1.2):
    people = PeopleBounds(torch.tensor([0.3, 1.0, -0.2]), radius, UP)
    viewmat = look_at(torch.tensor([0.5, 1.8, 4.0]), people.center, UP)
    intrinsics = torch.tensor([[120.0, 0, 48], [0, 110.0, 32], [0, 0, 1]])
    return people, Camera(viewmat, intrinsics, 96, 64)


def settings(**more):
    return config(*(f"{VIEWS}.runtime_camera.{k}={v}" for k, v in more.items())).train


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("count", [1, 4, 5])
def test_every_strategy_looks_at_the_people_upright_from_new_places(strategy, count):
    """Everyone's center is in the middle of the image, and no two cameras share a position."""
    people, source = scene()
    runtime = settings().nv_generation.trn_nv_gen.runtime_camera
    cameras = STRATEGIES[strategy](people, source, runtime, count)
    assert len(cameras) == count
    places = [source.position, *(camera.position for camera in cameras)]
    for camera in cameras:
        seen = camera.viewmat @ torch.cat([people.center, torch.ones(1)])
        torch.testing.assert_close(seen[:2], torch.zeros(2), atol=1e-5, rtol=0)
        assert seen[2] > 1
        torch.testing.assert_close(camera.viewmat[:3, :3].det(), torch.tensor(1.0))
        assert camera.viewmat[1, :3] @ UP < -0.5  # image y points down
    for i, place in enumerate(places):
        assert all((place - other).norm() > 0.2 for other in places[:i])


def test_the_orbit_just_holds_everyone():
    """The sphere around the people touches the image's narrow side at margin 1."""
    people, source = scene()
    runtime = settings(margin=1.0, elevation_deg=20.0).nv_generation.trn_nv_gen.runtime_camera
    for camera in STRATEGIES["static_orbit"](people, source, runtime, 6):
        offset = camera.position - people.center
        half_angle = math.asin(people.radius / float(offset.norm()))
        assert half_angle == pytest.approx(math.atan(32 / 110), rel=1e-4)
        assert float(offset @ UP / offset.norm()) == pytest.approx(
            math.sin(math.radians(20)), abs=1e-5
        )


def test_the_arc_keeps_the_source_camera_s_height_and_distance():
    """From end to end it spans the configured angle, less half a step on each side."""
    people, source = scene()
    runtime = settings(arc_deg=80.0).nv_generation.trn_nv_gen.runtime_camera
    cameras = STRATEGIES["source_arc"](people, source, runtime, 4)
    first, last = (cameras[i].position - people.center for i in (0, 3))
    for camera in cameras:
        assert float(camera.position[1]) == pytest.approx(1.8, abs=1e-5)
    flat = [vector * torch.tensor([1.0, 0.0, 1.0]) for vector in (first, last)]
    cosine = float(flat[0] @ flat[1] / flat[0].norm() / flat[1].norm())
    assert math.degrees(math.acos(cosine)) == pytest.approx(60.0, abs=1e-3)
