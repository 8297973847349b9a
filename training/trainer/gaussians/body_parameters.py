"""Body parameters of a scene as tensors, and the joints that poses are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from preprocess.body.body_model import TRANSLATION_KEYS, BodyModel, Space, pose_vector
from preprocess.body.joints import BODY_JOINTS
from preprocess.layout import SceneFolder
from preprocess.scene_data import load_body_parameters


@dataclass(frozen=True)
class BodyParameters:
    """All P people over F frames: betas (P, B), pose (F, P, J, 3) axis-angle, trans (F, P, 3) m."""

    betas: Tensor
    pose: Tensor
    trans: Tensor


def read_body_parameters(
    folder: SceneFolder, frames: Sequence[int], space: Space
) -> BodyParameters:
    """Read everyone's parameters of `frames`; a person's betas are the mean over the frames.

    Raises SceneDataError.
    """
    betas, poses, translations = [], [], []
    for frame in frames:
        parameters = load_body_parameters(folder, frame, space)
        betas.append(torch.from_numpy(parameters["betas"]))
        poses.append(pose_vector(parameters, space))
        translations.append(torch.from_numpy(parameters[TRANSLATION_KEYS[space]]))
    return BodyParameters(torch.stack(betas).mean(0), torch.stack(poses), torch.stack(translations))


def body_joints(body: BodyModel, parameters: BodyParameters) -> Tensor:
    """Return the posed joints (F, P, 22, 3) that SMPL and SMPL-X share, metres."""
    betas = parameters.betas.expand(len(parameters.pose), *parameters.betas.shape)
    _, joints = body.joint_transforms(betas, parameters.pose, parameters.trans)
    return joints[:, :, : len(BODY_JOINTS)]
