"""Project Gaussians onto the image plane, in PyTorch (EWA splatting, Zwicker et al. 2002)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.cpu_rasterizer.constants import (
    EPS2D,
    FIELD_OF_VIEW_MARGIN,
    MIN_DETERMINANT,
    NEAR_PLANE,
)


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


def project(means: Tensor, covars: Tensor, camera: Camera) -> Projected:
    """Project means (N, 3) and covars (N, 3, 3) to pixels."""
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
    determinant = (xx * yy - xy * xy).clamp(min=MIN_DETERMINANT)
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    return Projected(slope * focal + principal, conics, z, torch.stack([xx, yy], dim=-1).sqrt())
