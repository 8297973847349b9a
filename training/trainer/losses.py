"""What training minimises: each term a small function, weighted by train.optimization.loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
MIN_ALPHA_FOR_DEPTH = 0.5


def rgb_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two images (H, W, 3)."""
    return (drawn - target).abs().mean()


def ssim_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM of two images (H, W, 3) in [0, 1] (Wang et al. 2004, 11-pixel Gaussian window)."""
    window = _window(drawn)
    stack = torch.stack([drawn, target, drawn**2, target**2, drawn * target]).permute(0, 3, 1, 2)
    blurred = functional.conv2d(stack.flatten(0, 1)[:, None], window[None, None, :, None])
    blurred = functional.conv2d(blurred, window[None, None, None, :])
    mean_a, mean_b, square_a, square_b, product = blurred.view(5, 3, *blurred.shape[-2:])
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    covariance = product - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + C1) * (2 * covariance + C2)) / (
        (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    )
    return 1 - similarity.mean()


def silhouette_loss(shares: Tensor, masks: Tensor) -> Tensor:
    """Mean squared difference of each person's share of each pixel and mask, both (H, W, P)."""
    return ((shares - masks) ** 2).sum(-1).mean()


def depth_loss(depth: Tensor, alpha: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of expected depth and `target` (H, W), m, over pixels where the
    target is known (above 0) and the model mostly covers; 0 where there is none."""
    known = (target > 0) & (alpha.detach() > MIN_ALPHA_FOR_DEPTH)
    difference = depth / alpha.clamp(min=MIN_ALPHA_FOR_DEPTH) - target
    return torch.where(known, difference.abs(), 0.0).sum() / known.sum().clamp(min=1)


def unevenness(values: Tensor) -> Tensor:
    """Mean squared second difference of (3, ...) values at three frames, one after the other."""
    return ((values[0] - 2 * values[1] + values[2]) ** 2).mean()


def _window(like: Tensor) -> Tensor:
    offset = torch.arange(SSIM_WINDOW, dtype=like.dtype, device=like.device) - SSIM_WINDOW // 2
    weight = torch.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    return weight / weight.sum()
