"""What training minimises: each term a small function, weighted by train.optimization.loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW = 7  # pixels
C1, C2 = 0.01**2, 0.03**2
MIN_ALPHA_FOR_DEPTH = 0.5


def rgb_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two images (H, W, 3)."""
    return (drawn - target).abs().mean()


def ssim_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM of two images (H, W, 3) in [0, 1] (Wang et al. 2004, with a uniform window)."""
    mean_a, square_a, product = _window_means(torch.stack([drawn, drawn**2, drawn * target]))
    mean_b, square_b = _window_means(torch.stack([target, target**2]))
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    covariance = product - mean_a * mean_b
    similarity: Tensor = ((2 * mean_a * mean_b + C1) * (2 * covariance + C2)) / (
        (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    )
    return torch.sub(1, similarity.mean()).to(drawn.dtype)


def silhouette_loss(shares: Tensor, masks: Tensor) -> Tensor:
    """Mean squared difference of each person's share of each pixel and mask, both (H, W, P)."""
    return ((shares - masks) ** 2).sum(-1).mean()


def depth_loss(depth: Tensor, alpha: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of expected depth and `target` (H, W), metres.

    Over pixels where the target is known (above 0) and the model mostly covers; 0 without any.
    """
    known = (target > 0) & (alpha.detach() > MIN_ALPHA_FOR_DEPTH)
    difference = depth / alpha.clamp(min=MIN_ALPHA_FOR_DEPTH) - target
    return torch.where(known, difference.abs(), 0.0).sum() / known.sum().clamp(min=1)


def unevenness(values: Tensor) -> Tensor:
    """Mean squared second difference of (3, ...) values at three frames, one after the other."""
    return ((values[0] - 2 * values[1] + values[2]) ** 2).mean()


def _window_means(images: Tensor) -> Tensor:
    """Means over all whole windows of (N, H, W, 3), by a summed-area table (Crow 1984).

    A convolution costs eight times as much on CPU. float64, since the table's sums grow large.
    """
    table = functional.pad(images.double().cumsum(1).cumsum(2), (0, 0, 1, 0, 1, 0))
    size = SSIM_WINDOW
    rows = table[:, size:] - table[:, :-size]
    return (rows[:, :, size:] - rows[:, :, :-size]) / size**2
