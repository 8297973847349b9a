"""Where the cameras of a turntable and of a fly-along stand, and what they see."""

from __future__ import annotations

import itertools

import pytest
import torch

from training.trainer.cameras.camera import Camera
from training.trainer.cameras.strategies import look_at
from training.trainer.config.compose import load_config
from training.trainer.evaluation.animations import SIDE, fly_along, turntable

UP = torch.tensor([0.0, 1.0, 0.0])
CENTER = torch.tensor([0.5, 1.0, -0.3])


def film(kind, count, frames=5):
    """Return the shots of an animation, and the joints that they look at: people who walk on x."""
    joints = torch.randn(frames, 2, 22, 3, generator=torch.Generator().manual_seed(0)) / 5
    joints[..., 12, 1] += 1.0  # necks are above
    joints += CENTER + torch.arange(frames)[:, None, None, None] * torch.tensor([0.2, 0, 0])
    config = load_config(["shared.scene_name=a", "shared.exp_name=b"])
    source = Camera(
        look_at(torch.tensor([0.5, 1.4, 4.0]), CENTER, UP),
        torch.tensor([[900.0, 0, 470], [0, 900.0, 640], [0, 0, 1]]),
        940,
        1280,
    )
    settings = config.train.nv_generation.trn_nv_gen.runtime_camera
    return kind(joints, source, settings, count), joints


@pytest.mark.parametrize("kind", [turntable, fly_along])
def test_everyone_fills_images_of_one_bounded_size(kind):
    """All joints are inside each image; its longer side is SIDE, however large the source's are."""
    shots, joints = film(kind, 12)
    sizes = {(camera.width, camera.height) for camera, _ in shots}
    assert len(sizes) == 1
    assert max(next(iter(sizes))) == SIDE
    for camera, index in shots:
        seen = joints[index].flatten(0, 1) @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixels = (seen / seen[:, 2:]) @ camera.intrinsics.T
        assert (seen[:, 2] > 0).all()
        assert (pixels[:, :2] > 0).all()
        assert (pixels[:, 0] < camera.width).all()
        assert (pixels[:, 1] < camera.height).all()


def test_a_turntable_goes_once_around_people_who_stand_still():
    """In the middle frame; the cameras' mean place is above the people."""
    shots, joints = film(turntable, 8)
    assert {index for _, index in shots} == {2}
    middle = torch.stack([camera.position for camera, _ in shots]).mean(0)
    points = joints[2].flatten(0, 1)
    around = (points.amin(0) + points.amax(0)) / 2
    assert (middle - around)[[0, 2]].norm() < 0.3  # of a circle of metres; up is not quite y


def test_a_fly_along_shows_every_frame_and_ends_where_it_began():
    """Frames go there and back one by one, and the camera swings to both sides."""
    shots, _ = film(fly_along, 16)
    indices = [index for _, index in shots]
    assert set(indices) == set(range(5))
    assert indices[0] == 0
    repeated = [*indices, indices[0]]
    assert max(abs(b - a) for a, b in itertools.pairwise(repeated)) == 1
    places = torch.stack([camera.position for camera, _ in shots])
    steps = (places.roll(-1, 0) - places).norm(dim=-1)
    assert steps.max() < 3 * steps.median()
    assert places[:, 0].min() < -1
    assert places[:, 0].max() > 2
