"""The reference: exact rasterization of every (Gaussian, pixel) pair, in PyTorch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.cpu_rasterizer.constants import (
    MAX_ALPHA,
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    NEAR_PLANE,
)
from training.trainer.gaussians.cpu_rasterizer.projection import Projected, project


def rasterize_pytorch(
    means: Tensor,
    covars: Tensor,
    opacities: Tensor,
    features: Tensor,
    camera: Camera,
    *,
    shifts: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (H, W, D), depth (H, W) and alpha (H, W) as `rasterizer.rasterize` does."""
    projected = project(means, covars, camera)
    if shifts is not None:
        projected = replace(projected, centers=projected.centers + shifts)
    with torch.no_grad():
        gaussian, pixel = _gaussian_pixel_pairs(projected, opacities, camera)
    alpha = _alphas(projected, opacities, gaussian, _pixel_centers(pixel, camera))
    counts = torch.bincount(pixel, minlength=camera.width * camera.height)
    depths = projected.depths[:, None]
    sums = functional.embedding_bag(  # for each pixel the weighted sum over its Gaussians
        gaussian,
        torch.cat([features, depths, torch.ones_like(depths)], dim=1),
        counts.cumsum(0) - counts,
        per_sample_weights=alpha * _transmittance_before(alpha, pixel, counts),
        mode="sum",
    ).view(camera.height, camera.width, -1)
    return sums[..., :-2], sums[..., -2], sums[..., -1]


def _gaussian_pixel_pairs(
    projected: Projected, opacities: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Return every (Gaussian, pixel) pair that contributes, by pixel, then front to back.

    A pair contributes when its alpha is at least MIN_ALPHA and what is in front of it lets through
    more than MIN_TRANSMITTANCE. Two index vectors of one length.
    """
    first, extent = _bounding_boxes(projected, opacities, camera)
    order = torch.argsort(projected.depths, stable=True)
    counts = extent.prod(dim=-1)[order]
    gaussian = order.repeat_interleave(counts)
    place = torch.arange(len(gaussian), device=order.device)
    place = place - (counts.cumsum(0) - counts).repeat_interleave(counts)
    columns = extent[:, 0][gaussian]
    column = first[:, 0][gaussian] + place % columns
    pixel = (first[:, 1][gaussian] + place // columns) * camera.width + column
    alpha = _alphas(projected, opacities, gaussian, _pixel_centers(pixel, camera))
    kept = (alpha >= MIN_ALPHA).nonzero()[:, 0]
    pixel, by_pixel = torch.sort(pixel[kept], stable=True)
    kept = kept[by_pixel]
    alpha = alpha[kept]
    counts = torch.bincount(pixel, minlength=camera.width * camera.height)
    visible = _transmittance_before(alpha, pixel, counts) * (1 - alpha) > MIN_TRANSMITTANCE
    return gaussian[kept][visible], pixel[visible]


def _bounding_boxes(
    projected: Projected, opacities: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Return first pixel (N, 2) and extent (N, 2) of the box where alpha can reach MIN_ALPHA."""
    sigmas = (2 * (opacities / MIN_ALPHA).clamp(min=1.0).log()).sqrt()
    reach = sigmas[:, None] * projected.spreads
    limit = torch.tensor([camera.width, camera.height], device=reach.device)
    # Pixel i has its middle at i + 0.5.
    first = (projected.centers - reach - 0.5).ceil().clamp(min=0).minimum(limit).long()
    last = (projected.centers + reach - 0.5).floor().clamp(min=-1).minimum(limit - 1).long()
    in_front = (projected.depths > NEAR_PLANE)[:, None].long()
    return first, (last - first + 1).clamp(min=0) * in_front


def _pixel_centers(pixel: Tensor, camera: Camera) -> Tensor:
    return torch.stack([pixel % camera.width, pixel // camera.width], dim=-1) + 0.5


def _alphas(projected: Projected, opacities: Tensor, gaussian: Tensor, at: Tensor) -> Tensor:
    """Return the alpha of each chosen Gaussian (M,) at positions (M, 2)."""
    table = torch.cat([projected.centers, projected.conics, opacities[:, None]], dim=-1)
    center_x, center_y, xx, xy, yy, opacity = table.index_select(0, gaussian).unbind(-1)
    x, y = at[:, 0] - center_x, at[:, 1] - center_y
    power = 0.5 * (xx * x * x + yy * y * y) + xy * x * y
    return (opacity * torch.exp(-power)).clamp(max=MAX_ALPHA)


def _transmittance_before(alpha: Tensor, pixel: Tensor, counts: Tensor) -> Tensor:
    """Return the light left for each pair (M,) after those in front of it at its pixel.

    float64 inside, since one running sum of logarithms goes through all pixels.
    """
    passed = functional.pad(torch.log1p(-alpha.double()).cumsum(0), (1, 0))
    first = counts.cumsum(0) - counts
    return torch.exp(passed[:-1] - passed[first][pixel]).to(alpha.dtype)
