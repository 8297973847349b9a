"""The losses that training minimises.

First the weighted sums that one step adds up (`shape_loss`, `color_loss`, `pose_prior`,
`gaussian_prior`), then their terms. A view that is a part of an image has the loss of the whole
image, provided that nothing else of it shows people or Gaussians. Weights are the keys of
`train.optimization.loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.trainer.cameras.views import View
from training.trainer.config.schema import LossWeights
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.render import Rendered

SSIM_WINDOW = 7  # pixels
C1, C2 = 0.01**2, 0.03**2  # stabilisers of SSIM, for images in [0, 1]
MIN_ALPHA_FOR_DEPTH = 0.5


def shape_loss(rendered: Rendered, view: View, weights: LossWeights) -> Tensor:
    """Return the error of silhouettes and depth, by which poses are fitted before colours."""
    loss = weights.silhouette * silhouette_loss(rendered.person_alpha, view.masks) * view.share()
    if view.depth is not None and weights.depth:
        loss = loss + weights.depth * depth_loss(rendered.depth, rendered.alpha, view.depth)
    return loss


def color_loss(rendered: Rendered, view: View, weights: LossWeights) -> Tensor:
    """Compare the people's colours inside their silhouettes with the view.

    Edges are left out: there the image mixes in what is behind, and Gaussians would learn it.
    """
    image = torch.where(view.interior[..., None], rendered.image, view.image)
    loss = weights.rgb * rgb_loss(image, view.image) * view.share()
    if weights.ssim:
        loss = loss + weights.ssim * ssim_loss(image, view.image) * view.share(SSIM_WINDOW)
    return loss


def pose_prior(model: SceneModel, frame: int, weights: LossWeights) -> Tensor:
    """Penalise poses at a frame index that leave their estimates or change unevenly over time."""
    poses = model.poses
    last = len(poses.first_pose) - 1
    neighbours = torch.tensor([max(frame - 1, 0), frame, min(frame + 1, last)])
    neighbours = neighbours.to(poses.betas.device)
    rotations, _ = poses.corrections(neighbours)
    loss = weights.pose_prior * rotations[1].square().mean()
    if weights.pose_smoothness and 0 < frame < last:
        pose, trans = poses(neighbours)
        loss = loss + weights.pose_smoothness * (acceleration(pose) + acceleration(trans))
    return loss


def gaussian_prior(model: SceneModel, weights: LossWeights) -> Tensor:
    """Penalise Gaussians that leave the body's surface or their initial size."""
    gaussians = model.gaussians
    return (
        weights.offset * gaussians.offsets.square().sum(-1).mean()
        + weights.scale * (gaussians.scales - gaussians.first_scales).square().mean()
    )


def rgb_loss(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of two images (H, W, 3)."""
    return (image - target).abs().mean()


def ssim_loss(image: Tensor, target: Tensor) -> Tensor:
    """Return 1 - SSIM of two images (H, W, 3) in [0, 1].

    Source: Wang et al. 2004, with a uniform window instead of a Gaussian one.
    """
    mean_a, square_a, product = _window_means(torch.stack([image, image**2, image * target]))
    mean_b, square_b = _window_means(torch.stack([target, target**2]))
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    covariance = product - mean_a * mean_b
    similarity: Tensor = ((2 * mean_a * mean_b + C1) * (2 * covariance + C2)) / (
        (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    )
    return torch.sub(1, similarity.mean()).to(image.dtype)


def silhouette_loss(person_alpha: Tensor, masks: Tensor) -> Tensor:
    """Return the squared difference of each person's alpha and mask (H, W, P): mean over pixels."""
    return ((person_alpha - masks) ** 2).sum(-1).mean()


def depth_loss(depth: Tensor, alpha: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of expected depth and `target` (H, W), metres.

    `depth` (H, W) is the alpha-weighted sum. Counted are pixels where the target is known (above 0)
    and the model covers more than half; without any the loss is 0.
    """
    known = (target > 0) & (alpha.detach() > MIN_ALPHA_FOR_DEPTH)
    difference = depth / alpha.clamp(min=MIN_ALPHA_FOR_DEPTH) - target
    return torch.where(known, difference.abs(), 0.0).sum() / known.sum().clamp(min=1)


def acceleration(values: Tensor) -> Tensor:
    """Return the mean squared second difference of values (3, ...) at three successive frames."""
    return ((values[0] - 2 * values[1] + values[2]) ** 2).mean()


def _window_means(images: Tensor) -> Tensor:
    """Average (N, H, W, 3) over every whole window, by a summed-area table (Crow 1984).

    A convolution costs eight times as much on CPU. float64, since the table's sums grow large.
    """
    table = functional.pad(images.double().cumsum(1).cumsum(2), (0, 0, 1, 0, 1, 0))
    size = SSIM_WINDOW
    rows = table[:, size:] - table[:, :-size]
    return (rows[:, :, size:] - rows[:, :, :-size]) / size**2
