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

EXPRESSION = "expression"


@dataclass(frozen=True)
class BodyParameters:
    """All P people over F frames: betas (P, B), pose (F, P, J, 3) axis-angle, trans (F, P, 3) m.

    `expression` (F, P, E) of the face; None in SMPL's space, which has none.
    """

    betas: Tensor
    pose: Tensor
    trans: Tensor
    expression: Tensor | None = None


def read_body_parameters(
    folder: SceneFolder, frames: Sequence[int], space: Space
) -> BodyParameters:
    """Read everyone's parameters of `frames`; a person's betas are the mean over the frames.

    Raises SceneDataError.
    """
    betas, poses, translations, expressions = [], [], [], []
    for frame in frames:
        parameters = load_body_parameters(folder, frame, space)
        betas.append(torch.from_numpy(parameters["betas"]))
        poses.append(pose_vector(parameters, space))
        translations.append(torch.from_numpy(parameters[TRANSLATION_KEYS[space]]))
        if EXPRESSION in parameters:
            expressions.append(torch.from_numpy(parameters[EXPRESSION]))
    return BodyParameters(
        torch.stack(betas).mean(0),
        torch.stack(poses),
        torch.stack(translations),
        torch.stack(expressions) if expressions else None,
    )


def body_joints(body: BodyModel, parameters: BodyParameters) -> Tensor:
    """Return the posed joints (F, P, 22, 3) that SMPL and SMPL-X share, metres."""
    betas = parameters.betas.expand(len(parameters.pose), *parameters.betas.shape)
    _, joints = body.joint_transforms(
        betas, parameters.pose, parameters.trans, parameters.expression
    )
    return joints[:, :, : len(BODY_JOINTS)]
