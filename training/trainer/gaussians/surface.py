"""Points spread over a body's surface, where a person's Gaussians start."""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch
from torch import Tensor

from preprocess.body.body_model import BodyModel

THICKNESS = 0.3  # of a new Gaussian, as a fraction of its width along the surface
OVERLAP = 0.5  # a Gaussian's standard deviation as a fraction of the distance between them


@dataclass(frozen=True)
class SurfacePoints:
    """N points on a body's surface, attached to it so that shape and pose move them.

    `corners` (N, 3) vertex indices and `shares` (N, 3) barycentric weights, `weights` (N, J)
    skinning weights, `quaternions` (N, 4) xyzw that turn z onto the normal, `spacing` metres.
    """

    corners: Tensor
    shares: Tensor
    weights: Tensor
    quaternions: Tensor
    spacing: float

    def positions(self, vertices: Tensor) -> Tensor:
        """Return the points (..., N, 3) for vertices (..., V, 3)."""
        return (vertices[..., self.corners, :] * self.shares[..., None]).sum(-2)


def spread_points(
    body: BodyModel, betas: Tensor, count: int, generator: torch.Generator
) -> SurfacePoints:
    """Spread `count` points evenly by area over the resting body of `betas` (B,)."""
    triangles = body.shaped(betas)[body.faces]
    normals = torch.linalg.cross(
        triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    )
    areas = normals.norm(dim=-1) / 2
    # One point in each of `count` equal parts of the area: more even than independent draws.
    shares_of_area = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    faces = torch.searchsorted(areas.cumsum(0) / areas.sum(), shares_of_area).clamp(
        max=len(areas) - 1
    )
    corners = body.faces[faces]
    shares = _uniform_barycentric(count, generator)
    weights = skinning_weights(body, corners, shares)
    spacing = float((areas.sum() / count).sqrt())
    return SurfacePoints(corners, shares, weights, _rotations_onto(normals[faces]), spacing)


def skinning_weights(body: BodyModel, corners: Tensor, shares: Tensor) -> Tensor:
    """Return the skinning weights (N, J) of points at `shares` of their triangles' `corners`."""
    return (body.weights[corners] * shares[..., None]).sum(1)


def initial_scales(points: SurfacePoints) -> Tensor:
    """Return the standard deviations (3,) of initial Gaussians: flat discs that overlap, metres."""
    width = OVERLAP * points.spacing
    return torch.tensor([width, width, THICKNESS * width])


def _uniform_barycentric(count: int, generator: torch.Generator) -> Tensor:
    a, b = torch.rand(2, count, generator=generator)
    root = a.sqrt()
    return torch.stack([1 - root, root * (1 - b), root * b], dim=-1)


def _rotations_onto(normals: Tensor) -> Tensor:
    unit = normals / normals.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    helper = torch.eye(3)[unit.abs().argmin(dim=-1)]
    side = torch.linalg.cross(helper, unit)
    side = side / side.norm(dim=-1, keepdim=True)
    rotation = torch.stack([side, torch.linalg.cross(unit, side), unit], dim=-1)
    quaternions: Tensor = roma.rotmat_to_unitquat(rotation)
    return quaternions
