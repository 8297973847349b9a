"""How far people's bodies are inside each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.trainer.gaussians.model import SceneModel

VERTICES = 1000
"""Of each body, evenly taken from the list of its vertices; all pairs of people are compared."""
REACH = 0.15
"""Nobody is deeper inside another, metres: farther vertices are on the other side of a body."""


def interpenetration(model: SceneModel, frame: int) -> Tensor:
    """Return the mean squared depth of people's vertices inside others at a frame index, m².

    A vertex is inside another body where it lies behind the nearest of its vertices, by that one's
    normal; the mean is over all vertices that are compared, and 0 where nobody touches.
    """
    frames = torch.tensor([frame], device=model.poses.betas.device)
    vertices = model.vertices(frames)[0]
    normals = _vertex_normals(vertices.detach(), model.body.faces)
    chosen = slice(None, None, max(1, vertices.shape[1] // VERTICES))
    points, normals = vertices[:, chosen], normals[:, chosen]
    depths = [
        _depth_inside(points[person], points[other], normals[other])
        for person in range(model.people)
        for other in range(model.people)
        if person != other
    ]
    return torch.stack(depths).square().mean() if depths else vertices.new_zeros(())


def _depth_inside(points: Tensor, surface: Tensor, normals: Tensor) -> Tensor:
    """Return how deep points (N, 3) are behind a surface's vertices and normals (M, 3), metres."""
    nearest = torch.cdist(points.detach(), surface.detach()).argmin(dim=1)
    away = points - surface[nearest]
    depth = functional.relu(-(away * normals[nearest]).sum(-1))
    return torch.where(away.detach().norm(dim=-1) < REACH, depth, 0.0)


def _vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return unit normals (P, V, 3) of bodies: their faces' normals, averaged by area."""
    a, b, c = vertices[:, faces].unbind(dim=2)
    areas = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(1, faces[:, corner], areas)
    return functional.normalize(total, dim=-1)
