"""The loss of one frame: what its views say, and what we believe before seeing them."""

from __future__ import annotations

import torch
from torch import Tensor

from training.trainer import losses
from training.trainer.cameras.views import View
from training.trainer.config.schema import LossWeights
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.render import Rendered


def shape_loss(seen: Rendered, view: View, weights: LossWeights) -> Tensor:
    """Silhouettes and depth: what poses can be fitted to before there are colours."""
    loss = weights.silhouette * losses.silhouette_loss(seen.shares, view.masks)
    if view.depth is not None and weights.depth:
        loss = loss + weights.depth * losses.depth_loss(seen.depth, seen.alpha, view.depth)
    return loss


def color_loss(seen: Rendered, view: View, weights: LossWeights) -> Tensor:
    """How the people look inside their silhouettes.

    At a silhouette the image mixes in what is behind: Gaussians there would learn that colour.
    """
    drawn = torch.where(view.interior[..., None], seen.image, view.image)
    loss = weights.rgb * losses.rgb_loss(drawn, view.image)
    if weights.ssim:
        loss = loss + weights.ssim * losses.ssim_loss(drawn, view.image)
    return loss


def pose_prior(model: SceneModel, frame: int, weights: LossWeights) -> Tensor:
    """Keeps poses near their estimates, and their change from frame to frame even."""
    poses = model.poses
    last = len(poses.first_pose) - 1
    around = torch.tensor([max(frame - 1, 0), frame, min(frame + 1, last)])
    around = around.to(poses.betas.device)
    turns, _ = poses.corrections(around)
    loss = weights.pose_prior * turns[1].square().mean()
    if weights.pose_smoothness and 0 < frame < last:
        pose, trans = poses(around)
        uneven = losses.unevenness(pose) + losses.unevenness(trans)
        loss = loss + weights.pose_smoothness * uneven
    return loss


def gaussian_prior(model: SceneModel, weights: LossWeights) -> Tensor:
    """Keeps Gaussians on the body and of even size."""
    gaussians = model.gaussians
    return (
        weights.offset * gaussians.offsets.square().sum(-1).mean()
        + weights.scale * (gaussians.scales - gaussians.first_scales).square().mean()
    )
