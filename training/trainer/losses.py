"""The losses that training minimises.

First what one step adds up (`shape_loss`, `color_loss`, `pose_prior`, `gaussian_prior`), each the
weighted terms by their names in `train.optimization.loss`; then how terms are computed. A view that
is a part of an image has the loss of the whole image, provided that nothing else of it shows people
or Gaussians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.trainer.cameras.views import View
from training.trainer.config.schema import LossWeights
from training.trainer.gaussians.interpenetration import interpenetration
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.render import Rendered

SSIM_WINDOW = 7  # pixels
C1, C2 = 0.01**2, 0.03**2  # stabilisers of SSIM, for images in [0, 1]
MIN_ALPHA_FOR_DEPTH = 0.5
Terms = dict[str, Tensor]
"""Weighted terms of a loss by their names, which are keys of `train.optimization.loss`."""


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of terms, which is what training minimises."""
    return torch.stack(list(terms.values())).sum()


def add_terms(terms: Terms, more: Mapping[str, Tensor], weight: float) -> None:
    """Add `more`, multiplied by a view's weight, to the terms of the same names."""
    for name, term in more.items():
        terms[name] = weight * term + terms[name] if name in terms else weight * term


def shape_loss(rendered: Rendered, view: View, weights: LossWeights) -> Terms:
    """Return the error of silhouettes and depth, by which poses are fitted before colours."""
    silhouette = silhouette_loss(rendered.person_alpha, view.masks)
    terms = {"silhouette": weights.silhouette * silhouette * view.share()}
    if view.depth is not None and weights.depth:
        terms["depth"] = weights.depth * depth_loss(rendered.depth, rendered.facing, view.depth)
    return terms


def color_loss(
    rendered: Rendered, view: View, weights: LossWeights, *, edges: bool = False
) -> Terms:
    """Compare the people's colours with the view, inside their silhouettes or with the `edges`.

    At an edge the image mixes in what is behind. From one camera alone Gaussians would learn that
    colour, where they should move; true images of other cameras forbid it.
    """
    image = rendered.image
    if not edges:
        image = torch.where(view.interior[..., None], image, view.image)
    terms = {"rgb": weights.rgb * rgb_loss(image, view.image) * view.share()}
    if weights.ssim:
        share = view.share(SSIM_WINDOW)
        terms["ssim"] = weights.ssim * ssim_loss(image, view.image) * share
    return terms


def pose_prior(model: SceneModel, index: int, weights: LossWeights, *, smooth: bool) -> Terms:
    """Penalise poses at a frame index that leave their estimates or change unevenly over time.

    The latter only where `smooth`, which `has_neighbours` tells.
    """
    poses = model.poses
    turns, _ = poses.corrections(torch.tensor([index], device=poses.betas.device))
    terms = {"pose_prior": weights.pose_prior * turns.square().mean()}
    if weights.pose_smoothness and smooth:
        around = torch.tensor([index - 1, index, index + 1], device=poses.betas.device)
        rotations, trans = poses(around)
        uneven = angular_acceleration(rotations) + acceleration(trans)
        terms["pose_smoothness"] = weights.pose_smoothness * uneven
    if weights.interpenetration:
        terms["interpenetration"] = weights.interpenetration * interpenetration(model, index)
    return terms


def has_neighbours(frames: Sequence[int]) -> list[bool]:
    """Return for each frame number whether those before and after it are one step away.

    A step is the smallest distance of two successive `frames`: no motion is known across skipped
    frames.
    """
    steps = [after - before for before, after in pairwise(frames)]
    step = min(steps, default=0)
    return [
        0 < index < len(steps) and steps[index - 1] == steps[index] == step
        for index in range(len(frames))
    ]


def gaussian_prior(model: SceneModel, weights: LossWeights) -> Terms:
    """Penalise Gaussians that leave the body's surface or their initial size."""
    gaussians = model.gaussians
    return {
        "offset": weights.offset * gaussians.offsets.square().sum(-1).mean(),
        "scale": weights.scale * (gaussians.scales - gaussians.first_scales).square().mean(),
    }


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
    return 1 - similarity.mean()


def silhouette_loss(person_alpha: Tensor, masks: Tensor) -> Tensor:
    """Return the squared difference of each person's alpha and mask (H, W, P): mean over pixels."""
    return ((person_alpha - masks) ** 2).sum(-1).mean()


def depth_loss(depth: Tensor, alpha: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of rendered depth and `target` (H, W), metres.

    `depth` (H, W) is the sum weighted by `alpha`, of surfaces that face the camera. Counted are
    pixels where the target is known (above 0) and the model covers more than half; without any the
    loss is 0.
    """
    known = (target > 0) & (alpha.detach() > MIN_ALPHA_FOR_DEPTH)
    difference = depth / alpha.clamp(min=MIN_ALPHA_FOR_DEPTH) - target
    return torch.where(known, difference.abs(), 0.0).sum() / known.sum().clamp(min=1)


def angular_acceleration(rotations: Tensor) -> Tensor:
    """Return the mean squared change of rotation speed over three successive frames, rad².

    `rotations` (3, ..., 3, 3). Compared are the relative rotations from frame to frame, which a
    turn of the world leaves as they are; by the distance of their matrices, which for small angles
    is that of their axis-angle vectors times the root of 2 and has a gradient at any angle.
    """
    steps = rotations[:-1].mT @ rotations[1:]
    axes, root_2_squared = 3, 2
    return (steps[1] - steps[0]).square().sum((-2, -1)).mean() / (axes * root_2_squared)


def acceleration(values: Tensor) -> Tensor:
    """Return the mean squared second difference of values (3, ...) at three successive frames."""
    return ((values[0] - 2 * values[1] + values[2]) ** 2).mean()


class _WindowMeans(Function):
    """Average (N, H, W, C) over every whole window; the gradient is averaged in the same way.

    Sums of shifted copies: a convolution takes 8 times, a summed-area table in float64 3 times as
    long on CPU.
    """

    @staticmethod
    def forward(_context: Any, images: Tensor) -> Tensor:
        return _window_sums(_window_sums(images, 1), 2) / SSIM_WINDOW**2

    @staticmethod
    @once_differentiable
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        edge = SSIM_WINDOW - 1
        padded = functional.pad(gradient, (0, 0, edge, edge, edge, edge))
        return _window_sums(_window_sums(padded, 1), 2) / SSIM_WINDOW**2


def _window_means(images: Tensor) -> Tensor:
    means: Tensor = _WindowMeans.apply(images)  # type: ignore[no-untyped-call]
    return means


def _window_sums(images: Tensor, dim: int) -> Tensor:
    count = images.shape[dim] - SSIM_WINDOW + 1
    sums = images.narrow(dim, 0, count).clone()
    for first in range(1, SSIM_WINDOW):
        sums += images.narrow(dim, first, count)
    return sums
