"""From posed Gaussians to the image that a camera sees, with the background behind the people."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.trainer.cameras.camera import Camera, PixelBox
from training.trainer.gaussians.cpu_rasterizer.constants import EPS2D, MIN_ALPHA, NEAR_PLANE
from training.trainer.gaussians.gsplat_adapter import spherical_harmonics
from training.trainer.gaussians.model import PosedGaussians
from training.trainer.gaussians.rasterizer import rasterize

REACH = math.sqrt(2 * math.log(1 / MIN_ALPHA))
"""Standard deviations from its center at which an opaque Gaussian's alpha falls to MIN_ALPHA."""


COVERED = 0.5
"""Alpha from which a pixel shows a person."""


@dataclass(frozen=True)
class Rendered:
    """What a camera sees of P people.

    `image` (H, W, 3); `person_alpha` (H, W, P), how much of each pixel shows each person; `alpha`
    (H, W); `facing` (H, W), the part of alpha whose surfaces face the camera; `depth` (H, W) of
    these, weighted by `facing`, metres.
    """

    image: Tensor
    person_alpha: Tensor
    alpha: Tensor
    facing: Tensor
    depth: Tensor


def render(
    gaussians: PosedGaussians, camera: Camera, background: float, *, shifts: Tensor | None = None
) -> Rendered:
    """Render everyone together, so that people occlude each other, onto a grey level 0 to 1.

    Depth is read off the surfaces that face the camera alone: with the far side, which shines
    through between the Gaussians, it would lie 10 mm behind the surface. `shifts` as for
    `rasterize`.
    """
    facing = faces_camera(gaussians, camera)
    depth = depths(gaussians, camera) - gaussians.cloth_thickness_m
    surface = torch.stack([facing, facing * depth], dim=1)
    raster = rasterize(
        gaussians.means,
        gaussians.covars,
        gaussians.opacities,
        torch.cat([_features_seen_by(camera, gaussians), surface], dim=1),
        camera,
        shifts=shifts,
    )
    image = raster.features[..., :3] + (1 - raster.alpha[..., None]) * background
    person_alpha = raster.features[..., 3:-2]
    return Rendered(
        image, person_alpha, raster.alpha, raster.features[..., -2], raster.features[..., -1]
    )


def faces_camera(gaussians: PosedGaussians, camera: Camera) -> Tensor:
    """Return 1 for each Gaussian (N,) whose surface faces the camera, 0 for the others."""
    towards = camera.position - gaussians.means
    return ((towards * gaussians.normals).sum(-1) > 0).to(gaussians.means.dtype)


def depths(gaussians: PosedGaussians, camera: Camera) -> Tensor:
    """Return how far the centers (N,) lie in front of the camera, metres."""
    return gaussians.means @ camera.viewmat[2, :3] + camera.viewmat[2, 3]


@torch.no_grad()
def covered_box(gaussians: PosedGaussians, camera: Camera) -> PixelBox:
    """Return a box of the image outside of which no Gaussian is seen; empty where none is seen.

    It may be a little too large: a Gaussian counts as a ball that holds it.
    """
    rotation, translation = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    points = gaussians.means @ rotation.T + translation
    variances = gaussians.covars.diagonal(dim1=-2, dim2=-1).sum(-1)
    front = points[:, 2] > NEAR_PLANE
    depth = points[front, 2:]
    focal, principal = camera.intrinsics.diagonal()[:2], camera.intrinsics[:2, 2]
    slopes = points[front, :2] / depth
    variances2d = (focal / depth).square() * (1 + slopes.square()) * variances[front, None] + EPS2D
    reach = REACH * variances2d.sqrt()
    centers = slopes * focal + principal
    if not len(centers):
        return PixelBox(0, 0, 0, 0)
    ends = torch.cat([(centers - reach).amin(0).floor(), (centers + reach).amax(0).ceil()])
    left, top, right, bottom = ends.clamp(-1, max(camera.width, camera.height)).long().tolist()
    return PixelBox(left, top, right, bottom).intersection(camera.image_box)


def _features_seen_by(camera: Camera, gaussians: PosedGaussians) -> Tensor:
    """Return the features with the colours that a camera sees, (N, 3 + P).

    As in gsplat, colours are bounded below only. Directions turn with the body that a Gaussian
    is part of.
    """
    view_dependence = gaussians.view_dependence
    if view_dependence is None:
        return gaussians.features
    directions = view_dependence.turns.mT @ (gaussians.means - camera.position)[..., None]
    coefficients = functional.pad(view_dependence.harmonics, (0, 0, 1, 0))  # none of degree 0
    change = spherical_harmonics(view_dependence.degree, directions[..., 0], coefficients)
    colors = (gaussians.features[:, :3] + change).clamp(min=0)
    return torch.cat([colors, gaussians.features[:, 3:]], dim=1)
