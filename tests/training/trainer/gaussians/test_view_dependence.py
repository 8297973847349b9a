"""Colours that depend on the direction they are seen from: by hand, on turned bodies, in files."""

from __future__ import annotations

import math

import pytest
import roma
import torch
from two_people import COUNT, camera, make_scene

from training.trainer.gaussians.ply_export import ply_bytes, posed_ply_bytes
from training.trainer.gaussians.render import _features_seen_by, render

LINEAR = math.sqrt(3 / (4 * math.pi))
"""The factor of x, y and z in the harmonics of degree 1, which are -y, z, -x."""


def test_degree_0_draws_what_is_drawn_without():
    """Nothing of it is computed or saved."""
    model = make_scene()
    assert "gaussians.harmonics" not in model.state_dict()
    posed = model.gaussians_at(0)
    assert _features_seen_by(camera(), posed) is posed.features


def test_a_colour_grows_towards_the_side_it_was_trained_for():
    """By hand: 0.5 + 0.4·√(3/4π)·z, for the direction from the camera to each Gaussian."""
    model = make_scene(1)
    with torch.no_grad():
        model.gaussians.harmonics[:, 1, 0] = 0.4
        posed = model.gaussians_at(0)
        colors = _features_seen_by(camera(), posed)[:, :3]
    away = torch.nn.functional.normalize(posed.means - camera().position, dim=-1)
    torch.testing.assert_close(colors[:, 0], 0.5 + 0.4 * LINEAR * away[:, 2])
    torch.testing.assert_close(colors[:, 1:], torch.full((2 * COUNT, 2), 0.5))


def test_colours_turn_with_the_body():
    """A person who turns round shows the camera what was behind."""
    model, turned = make_scene(1), make_scene(1)
    with torch.no_grad():
        for each in (model, turned):
            each.gaussians.harmonics[:, 1, 0] = 0.4
        turned.poses.first_pose[:, :, 0, 1] = math.pi
        if hasattr(turned.poses, "first_rotations"):  # made of first_pose before
            import roma

            turned.poses.first_rotations[:] = roma.rotvec_to_rotmat(turned.poses.first_pose)
        front = _features_seen_by(camera(), model.gaussians_at(0))[:, 0]
        back = _features_seen_by(camera(), turned.gaussians_at(0))[:, 0]
    assert front.mean() < 0.4
    assert back.mean() > 0.6


def test_gradients_reach_the_coefficients():
    model = make_scene(2)
    seen = render(model.gaussians_at(0), camera(), 1.0)
    torch.autograd.backward(seen.image.square().sum())
    gradient = model.gaussians.harmonics.grad
    assert (gradient.abs().amax((0, 2)) > 0).all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_posed_ply_is_what_a_camera_of_the_scene_sees(degree):
    """Read back as viewers do: places, shapes, and the colours that a camera sees.

    People are turned as a whole: of bent limbs the blended rotations are no rotations, and nothing
    turns harmonics exactly by them.
    """
    from gsplat.cuda._torch_impl import _quat_scale_to_covar_preci, _spherical_harmonics

    model = make_scene(degree)
    with torch.no_grad():
        model.poses.first_pose[:, :, 0].normal_(generator=torch.Generator().manual_seed(1))
        model.poses.first_rotations[:] = roma.rotvec_to_rotmat(model.poses.first_pose)
        if degree:
            model.gaussians.harmonics.normal_(generator=torch.Generator().manual_seed(2)).mul_(0.1)
        posed = model.gaussians_at(0)
        expected = _features_seen_by(camera(), posed)[:, :3]
    columns = read_ply(posed_ply_bytes(model, 0))
    means, scales, quaternions = (
        torch.stack([columns[f"{name}_{i}"] for i in range(count)], 1)
        for name, count in (("mean", 3), ("scale", 3), ("rot", 4))
    )
    torch.testing.assert_close(means, posed.means)
    covars, _ = _quat_scale_to_covar_preci(quaternions, scales.exp(), compute_preci=False)
    torch.testing.assert_close(covars, posed.covars, atol=1e-7, rtol=1e-3)
    torch.testing.assert_close(columns["opacity"].sigmoid(), posed.opacities)
    coefficients = torch.stack(
        [
            torch.stack([columns[f"f_dc_{band}"], *rest_of(columns, degree, band)], 1)
            for band in range(3)
        ],
        dim=2,
    )
    away = posed.means - camera().position
    shown = _spherical_harmonics(degree, away, coefficients) + 0.5
    torch.testing.assert_close(shown, expected, atol=1e-4, rtol=0)


def read_ply(content):
    """Return the columns of a .ply by name, x, y and z as mean_0 to mean_2."""
    header, _, body = content.partition(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if "property" in line]
    names[:3] = ["mean_0", "mean_1", "mean_2"]
    table = torch.frombuffer(bytearray(body), dtype=torch.float32).view(-1, len(names))
    return dict(zip(names, table.T, strict=True))


def rest_of(columns, degree, band):
    count = (degree + 1) ** 2 - 1
    return [columns[f"f_rest_{band * count + i}"] for i in range(count)]


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_ply_shows_each_side_as_the_model_does(degree):
    """Evaluated as viewers do, in their axes, y down."""
    from gsplat.cuda._torch_impl import _spherical_harmonics

    model = make_scene(degree)
    with torch.no_grad():
        model.gaussians.harmonics.normal_(generator=torch.Generator().manual_seed(2))
    count = (degree + 1) ** 2
    header, _, body = ply_bytes(model, 1).partition(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if "property" in line]
    table = torch.frombuffer(bytearray(body), dtype=torch.float32).view(COUNT, len(names))
    rest = [names.index(f"f_rest_{i}") for i in range(3 * (count - 1))]
    in_file = table[:, rest].view(COUNT, 3, count - 1).mT
    direction = torch.tensor([[0.6, -0.3, 0.7]]).expand(COUNT, 3)
    zero = torch.zeros(COUNT, 1, 3)
    as_viewers = _spherical_harmonics(
        degree, direction * torch.tensor([1.0, -1, -1]), torch.cat([zero, in_file], 1)
    )
    own = model.gaussians.harmonics[model.gaussians.person == 1].detach()
    expected = _spherical_harmonics(degree, direction, torch.cat([zero, own], 1))
    torch.testing.assert_close(as_viewers, expected, atol=1e-5, rtol=1e-5)
