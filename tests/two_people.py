"""Two people side by side with few Gaussians, and a camera in front of them."""

from __future__ import annotations

import torch

from preprocess.body.body_model import load_body
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.strategies import look_at
from training.trainer.gaussians.body_parameters import BodyParameters
from training.trainer.gaussians.model import Gaussians, Poses, SceneModel
from training.trainer.gaussians.surface import spread_points

COUNT = 120


def camera():
    viewmat = look_at(torch.tensor([0.0, 0.2, 3.0]), torch.zeros(3), torch.tensor([0, 1.0, 0]))
    return Camera(viewmat, torch.tensor([[60.0, 0, 32], [0, 60.0, 32], [0, 0, 1]]), 64, 64)


def make_scene(sh_degree=0):
    body, generator = load_body(), torch.Generator().manual_seed(0)
    betas, pose = torch.zeros(2, 6), torch.zeros(1, 2, 22, 3)
    trans = torch.tensor([[[-0.4, 0.0, 0.0], [0.4, 0.0, 0.0]]])
    surfaces = [spread_points(body, each, COUNT, generator) for each in betas]
    gaussians = Gaussians(surfaces, sh_degree)
    return SceneModel(body, Poses(BodyParameters(betas, pose, trans)), gaussians)
