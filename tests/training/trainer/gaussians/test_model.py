"""Gaussians move with the body, hidden ones copy colours, and the refiner can be exchanged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import roma
import torch
from PIL import Image

from preprocess.body.body_model import load_body
from training.trainer import novel_views
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.strategies import look_at
from training.trainer.cameras.views import View
from training.trainer.gaussians.model import (
    BodyParameters,
    Gaussians,
    PosedGaussians,
    Poses,
    SceneModel,
)
from training.trainer.gaussians.ply_export import ply_bytes
from training.trainer.gaussians.render import render
from training.trainer.gaussians.surface import spread_points
from training.trainer.gaussians.visibility import color_hidden_gaussians, max_contributions
from training.trainer.refiner import difix

COUNT = 300


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture
def model(body):
    generator = torch.Generator().manual_seed(0)
    betas = torch.tensor([[0.5, -0.5, 0, 0, 0, 0], [-1.0, 1.0, 0, 0, 0, 0]])
    pose = 0.3 * torch.randn(3, 2, 22, 3, generator=generator)
    trans = torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]).repeat(3, 1, 1)
    surfaces = [spread_points(body, each, COUNT, generator) for each in betas]
    return SceneModel(body, Poses(BodyParameters(betas, pose, trans)), Gaussians(surfaces))


def camera(side=1.0):
    viewmat = look_at(
        torch.tensor([0.0, 0.2, 4.0 * side]), torch.zeros(3), torch.tensor([0, 1.0, 0])
    )
    return Camera(viewmat, torch.tensor([[60.0, 0, 32], [0, 60.0, 32], [0, 0, 1]]), 64, 64)


def view(model, side=1.0, index=0):
    with torch.no_grad():
        seen = render(model.gaussians_at(index), camera(side), 1.0)
    masks = (seen.person_alpha > 0.3).float()
    return View(28, 1, index, camera(side), seen.image, masks, None)


def test_gaussians_are_carried_exactly_like_the_body_s_surface(model, body):
    """A Gaussian at a corner of a triangle lies on the posed vertex."""
    gaussians = model.gaussians
    with torch.no_grad():
        gaussians.shares.zero_()[:, 0] = 1.0
        people = len(model.poses.betas)
        weights = [body.weights[gaussians.corners[gaussians.person == p, 0]] for p in range(people)]
        gaussians.weights.copy_(torch.block_diag(*weights))
        placed = model.gaussians_at(1).means
    rotations, trans = model.poses(torch.tensor([1]))
    pose = roma.rotmat_to_rotvec(rotations[0].detach())
    vertices = body.vertices(model.poses.betas, pose, trans[0])
    expected = vertices[gaussians.person, gaussians.corners[:, 0]]
    torch.testing.assert_close(placed, expected, atol=1e-5, rtol=1e-5)


def test_points_are_spread_evenly_over_the_surface(body):
    """Every part of the body gets its share by area."""
    betas = torch.zeros(6)
    points = spread_points(body, betas, 4000, torch.Generator().manual_seed(0))
    places = points.positions(body.shaped(betas))
    nearest = torch.cdist(places, places).fill_diagonal_(9).min(1).values
    assert nearest.median() > 0.3 * points.spacing
    torch.testing.assert_close(points.weights.sum(1), torch.ones(4000))


def test_a_step_on_one_frame_leaves_the_other_frames_poses(model):
    """Gradients reach the frame that was drawn, its body shape, and every kind of parameter."""
    seen = render(model.gaussians_at(1), camera(), 1.0)
    (seen.image.sum() + seen.depth.sum() + seen.person_alpha[..., 0].sum()).backward()
    turns = model.poses.turns.weight.grad.to_dense()
    assert turns[1].abs().sum() > 0
    assert turns[[0, 2]].abs().sum() == 0
    for name in ("offsets", "scales", "rotations", "opacities", "colors"):
        assert getattr(model.gaussians, name).grad.abs().sum() > 0
    assert model.poses.betas.grad.abs().sum() > 0


def test_depth_is_that_of_the_dressed_surface_in_front():
    """Two sheets 30 cm apart, the near one translucent: only it faces the camera."""
    places = torch.tensor([[0.0, 0.2, 0.0], [0.0, 0.2, -0.3]])
    sheets = PosedGaussians(
        places,
        torch.diag(torch.tensor([1.0, 1.0, 1e-6])).expand(2, 3, 3),
        torch.tensor([0.6, 0.99]),
        torch.zeros(2, 4),
        normals=torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]),
        cloth_thickness_m=0.02,
    )
    level = look_at(torch.tensor([0.0, 0.2, 4.0]), places[0], torch.tensor([0, 1.0, 0]))
    seen = render(sheets, replace(camera(), viewmat=level), 1.0)
    assert float(seen.depth[32, 32] / seen.facing[32, 32]) == pytest.approx(4.0 - 0.02, abs=1e-4)
    assert float(seen.facing[32, 32]) == pytest.approx(0.6, abs=0.01)
    assert float(seen.alpha[32, 32]) > 0.99


def test_fingers_of_a_larger_body_model_stay_as_estimated():
    """Poses of 55 joints: the first 22 are fitted."""
    pose = torch.randn(2, 1, 55, 3)
    poses = Poses(BodyParameters(torch.zeros(1, 10), pose, torch.zeros(2, 1, 3)))
    torch.nn.init.ones_(poses.turns.weight)
    moved, _ = poses(torch.tensor([0, 1]))
    first, turn = roma.rotvec_to_rotmat(pose), roma.rotvec_to_rotmat(torch.ones(3))
    torch.testing.assert_close(moved[:, :, :22], first[:, :, :22] @ turn)
    torch.testing.assert_close(moved[:, :, 22:], first[:, :, 22:])


def test_people_grow_about_their_pelvis(model):
    """Other betas leave the pelvis where it was estimated, and move what is far from it."""
    frames = torch.tensor([0, 1, 2])
    before = model.joints(frames)
    with torch.no_grad():
        model.poses.betas += 1.0
    after = model.joints(frames)
    torch.testing.assert_close(after[:, :, 0], before[:, :, 0])
    assert (after - before).norm(dim=-1).amax() > 0.01


def test_hidden_gaussians_borrow_from_seen_ones_of_the_same_person(model):
    """Seen from the front: the backs show colours of the fronts, nobody wears another's."""
    with torch.no_grad():
        model.gaussians.scales.fill_(-3.0)  # 5 cm: nothing shines through
    front = view(model)
    shares = max_contributions(model, [front])
    back = max_contributions(model, [view(model, side=-1.0)])
    color_hidden_gaussians(model, [front])
    gaussians = model.gaussians
    lenders = gaussians.colored_by
    assert (gaussians.person[lenders] == gaussians.person).all()
    hidden = shares < 0.01 * shares.mean()
    assert hidden.sum() > 50
    assert (lenders[hidden] != hidden.nonzero()[:, 0]).all()
    assert (shares[lenders] > 0.01 * shares.mean()).all()
    with torch.no_grad():
        gaussians.colors[lenders.unique()] = 4.0
    assert gaussians.shown_colors()[back > 1].min() > 0.9


def test_a_refiner_s_images_are_what_novel_views_show(model, tmp_path):
    """Any object with `refine` does; depth stays the model's, masks follow the image."""

    class Inverted:
        def refine(self, render, reference):
            assert reference.shape == render.shape
            return 1 - render

    class Source:
        background, frames, device = 1.0, [7], torch.device("cpu")

        def view(self, *_):
            return view(model)

    made = novel_views.NovelViews((100,), None, tmp_path, Source(), 28, None, Inverted())
    plain = view(model)
    refined = made._rendered(model, (100, 0), camera(), plain.image)
    torch.testing.assert_close(refined.image, 1 - plain.image.clamp(0, 1))
    assert refined.depth.max() > 2
    rendered = render(model.gaussians_at(0), camera(), 1.0)
    assert refined.masks.sum() > 1.2 * (rendered.person_alpha > 0.5).sum()
    assert (refined.camera_id, refined.frame) == (100, 7)


def test_difix_gets_images_it_can_work_on_and_gives_back_the_size_asked(monkeypatch):
    """Sides are scaled to multiples of 8; prompt, one step and the reference are passed."""
    calls = {}

    class Pipeline:
        from_pretrained = classmethod(lambda cls, *_, **__: cls())
        to = set_progress_bar_config = lambda self, *_, **__: self

        def __call__(self, prompt, **given):
            calls.update(given, prompt=prompt)
            return type("Output", (), {"images": [Image.new("RGB", given["image"].size, "red")]})

    monkeypatch.setattr(difix, "_pipeline_class", lambda: Pipeline)
    refiner = difix.DifixRefiner("any", torch.device("cpu"))
    refined = refiner.refine(torch.rand(50, 70, 3), torch.rand(50, 70, 3))
    assert refined.shape == (50, 70, 3)
    torch.testing.assert_close(refined[0, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert calls["image"].size == calls["ref_image"].size == (64, 48)
    assert calls["prompt"] == "remove degradation"
    assert (calls["num_inference_steps"], calls["timesteps"]) == (1, [199])
    other = difix.DifixRefiner("any", torch.device("cpu"), "clean", (399, 99))
    other.refine(torch.rand(50, 70, 3), torch.rand(50, 70, 3))
    assert calls["prompt"] == "clean"
    assert (calls["num_inference_steps"], calls["timesteps"]) == (2, [399, 99])


def test_a_ply_holds_the_colours_sizes_and_turns_of_the_model(model):
    """Decoded as viewers do: colour 0.5 + C0·f_dc, size exp(scale), opacity by the sigmoid."""
    with torch.no_grad():
        model.gaussians.colors.uniform_(-2, 2, generator=torch.Generator().manual_seed(3))
    header, _, body = ply_bytes(model, 1).partition(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if "property" in line]
    table = torch.frombuffer(bytearray(body), dtype=torch.float32).view(COUNT, len(names))
    column = {name: table[:, index] for index, name in enumerate(names)}
    chosen = model.gaussians.person == 1
    colors = torch.stack([column[f"f_dc_{i}"] for i in range(3)], dim=-1) * 0.28209479 + 0.5
    torch.testing.assert_close(colors, model.gaussians.shown_colors()[chosen].detach())
    torch.testing.assert_close(column["opacity"].sigmoid(), torch.full((COUNT,), 0.9))
    # Covariances turn with the centers: half a turn about x.
    quaternions = torch.stack([column[f"rot_{i}"] for i in (1, 2, 3, 0)], dim=-1)
    scales = torch.stack([column[f"scale_{i}"] for i in range(3)], dim=-1).exp()
    shape = roma.unitquat_to_rotmat(quaternions) * scales[:, None]
    first = roma.unitquat_to_rotmat(model.gaussians.rotations[chosen].detach()) * scales[:, None]
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    expected = half_turn @ first @ first.mT @ half_turn
    torch.testing.assert_close(shape @ shape.mT, expected, atol=1e-6, rtol=1e-4)
