"""Bodies inside each other cost what they are deep; apart they cost nothing."""

from __future__ import annotations

import pytest
import torch

from preprocess.body.body_model import load_body
from preprocess.geometry_checks import is_inside
from training.trainer.gaussians.body_parameters import BodyParameters
from training.trainer.gaussians.interpenetration import interpenetration
from training.trainer.gaussians.model import Gaussians, Poses, SceneModel
from training.trainer.gaussians.surface import spread_points


def people_at(distance):
    """Two people in the resting pose, side by side, `distance` metres apart."""
    body, generator = load_body(), torch.Generator().manual_seed(0)
    betas, pose = torch.zeros(2, 6), torch.zeros(1, 2, 22, 3)
    trans = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, distance]]])
    surfaces = [spread_points(body, each, 50, generator) for each in betas]
    return SceneModel(body, Poses(BodyParameters(betas, pose, trans)), Gaussians(surfaces))


def count_inside(model):
    """How many of every tenth vertex of one body are inside the other, by winding number."""
    first, second = model.vertices(torch.tensor([0]))[0].detach().numpy()
    faces = model.body.faces.numpy()
    return sum(is_inside(point, second, faces) for point in first[::10])


def test_people_apart_cost_nothing():
    assert count_inside(people_at(1.0)) == 0
    assert interpenetration(people_at(1.0), 0) == 0


def test_people_inside_each_other_are_pushed_apart():
    """Nearer costs more, and following the gradient ends with fewer vertices inside."""
    model = people_at(0.18)
    assert interpenetration(people_at(0.2), 0) < interpenetration(model, 0)
    before = count_inside(model)
    assert before > 0
    optimizer = torch.optim.SparseAdam(model.poses.shifts.parameters(), lr=5e-3)
    for _ in range(30):
        optimizer.zero_grad()
        interpenetration(model, 0).backward()
        optimizer.step()
    assert count_inside(model) < before / 2


def test_one_person_alone_costs_nothing():
    body = load_body()
    surfaces = [spread_points(body, torch.zeros(6), 50, torch.Generator())]
    parameters = BodyParameters(torch.zeros(1, 6), torch.zeros(1, 1, 22, 3), torch.zeros(1, 1, 3))
    model = SceneModel(body, Poses(parameters), Gaussians(surfaces))
    assert interpenetration(model, 0) == pytest.approx(0)
