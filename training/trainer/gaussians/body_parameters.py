"""Body parameters of a scene as tensors, and the true joints that poses are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from preprocess.body.body_model import TRANSLATION_KEYS, BodyModel, Space, pose_vector
from preprocess.body.joints import BODY_JOINTS
from preprocess.layout import SceneFolder
from preprocess.scene_data import load_body_parameters
from training.trainer.gaussians.model import BodyParameters


def read_bodies(folder: SceneFolder, frames: Sequence[int], space: Space) -> BodyParameters:
    """The people's parameters over `frames`; a person's shape is the mean over frames.

    Raises SceneDataError.
    """
    betas, poses, places = [], [], []
    for frame in frames:
        parameters = load_body_parameters(folder, frame, space)
        betas.append(torch.from_numpy(parameters["betas"]))
        poses.append(pose_vector(parameters, space))
        places.append(torch.from_numpy(parameters[TRANSLATION_KEYS[space]]))
    return BodyParameters(torch.stack(betas).mean(0), torch.stack(poses), torch.stack(places))


def joints_of(body: BodyModel, bodies: BodyParameters) -> Tensor:
    """The body joints (F, P, 22, 3) that SMPL and SMPL-X share, m."""
    betas = bodies.betas.expand(len(bodies.pose), *bodies.betas.shape)
    _, joints = body.joint_transforms(betas, bodies.pose, bodies.trans)
    return joints[:, :, : len(BODY_JOINTS)]
