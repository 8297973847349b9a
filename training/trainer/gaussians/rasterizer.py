"""Rasterize 3D Gaussians through a pinhole camera: exactly on CPU, by gsplat on CUDA.

Both follow Kerbl et al., 3D Gaussian Splatting (2023), with gsplat 1.5's constants, so a model
trained on one looks the same on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.trainer.cameras.camera import Camera

EPS2D = 0.3  # pixels² added to each projected covariance, so that no Gaussian misses every pixel
MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
MIN_TRANSMITTANCE = 1e-4
NEAR_PLANE = 0.01  # metres
FIELD_OF_VIEW_MARGIN = 0.3  # of half the image, beyond which the projection's slope is held


@dataclass(frozen=True)
class RasterOutput:
    """What one camera sees: composited features (H, W, D), depth sum (H, W), alpha (H, W).

    `depth` is weighted by alpha, in metres: divide by alpha for the expected depth.
    """

    features: Tensor
    depth: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class Projected:
    """N Gaussians on the image plane.

    `centers` (N, 2) pixels, `conics` (N, 3) inverse covariances xx, xy, yy, `depths` (N,) metres,
    `spreads` (N, 2) standard deviations along x and y, pixels.
    """

    centers: Tensor
    conics: Tensor
    depths: Tensor
    spreads: Tensor


def rasterize(
    means: Tensor, covars: Tensor, opacities: Tensor, features: Tensor, camera: Camera
) -> RasterOutput:
    """Composite N Gaussians front to back, on the device they are on.

    means (N, 3) and covars (N, 3, 3) in world metres, opacities (N,) in [0, 1], features (N, D)
    of any meaning (colours, one-hot persons). Differentiable in all four.
    """
    rasterize_on_device = _rasterize_cuda if means.is_cuda else _rasterize_cpu
    return rasterize_on_device(means, covars, opacities, features, camera)


def _rasterize_cuda(
    means: Tensor, covars: Tensor, opacities: Tensor, features: Tensor, camera: Camera
) -> RasterOutput:
    from gsplat import rasterization

    features_and_depth, alpha, _ = rasterization(
        means=means,
        quats=None,
        scales=None,
        opacities=opacities,
        colors=features,
        viewmats=camera.viewmat[None],
        Ks=camera.intrinsics[None],
        width=camera.width,
        height=camera.height,
        near_plane=NEAR_PLANE,
        eps2d=EPS2D,
        render_mode="RGB+D",
        covars=covars,
    )
    return RasterOutput(
        features_and_depth[0, ..., :-1], features_and_depth[0, ..., -1], alpha[0, ..., 0]
    )


def _rasterize_cpu(
    means: Tensor, covars: Tensor, opacities: Tensor, features: Tensor, camera: Camera
) -> RasterOutput:
    projected = project(means, covars, camera)
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
    return RasterOutput(sums[..., :-2], sums[..., -2], sums[..., -1])


def project(means: Tensor, covars: Tensor, camera: Camera) -> Projected:
    """Project means (N, 3) and covars (N, 3, 3) (EWA splatting, Zwicker et al. 2002)."""
    rotation, translation = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    x, y, z = (means @ rotation.T + translation).unbind(-1)
    focal, principal = camera.intrinsics.diagonal()[:2], camera.intrinsics[:2, 2]
    size = torch.tensor([camera.width, camera.height], dtype=means.dtype, device=means.device)
    depth = torch.where(z > NEAR_PLANE, z, 1.0)  # those behind are left out later
    slope = torch.stack([x, y], dim=-1) / depth[:, None]
    margin = FIELD_OF_VIEW_MARGIN * 0.5 * size / focal
    limited = slope.clamp(-principal / focal - margin, (size - principal) / focal + margin)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([focal[0] / depth, zero, -focal[0] * limited[:, 0] / depth], dim=-1),
            torch.stack([zero, focal[1] / depth, -focal[1] * limited[:, 1] / depth], dim=-1),
        ],
        dim=-2,
    )
    to_pixels = jacobian @ rotation
    covar2d = to_pixels @ covars @ to_pixels.mT
    xx, xy, yy = covar2d[:, 0, 0] + EPS2D, covar2d[:, 0, 1], covar2d[:, 1, 1] + EPS2D
    determinant = (xx * yy - xy * xy).clamp(min=1e-10)
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    return Projected(slope * focal + principal, conics, z, torch.stack([xx, yy], dim=-1).sqrt())


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
