"""Find the Gaussians that no training view shows, and give them the colour of visible ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from training.trainer.cameras.views import View
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.rasterizer import rasterize

MIN_RELATIVE_CONTRIBUTION = 0.8
DEPTH_SCALE = 0.4
"""Front and back count as this much nearer to each other than they are.

The back of a person whom nobody saw from behind then takes its colours from the front at the same
height.
"""
CHUNK = 1024  # Gaussians at once: all distances of 50,000 would take 10 GB


def color_hidden_gaussians(model: SceneModel, views: Iterable[View]) -> None:
    """Let each Gaussian that none of `views` shows take the colour of the nearest visible one."""
    contributions = max_contributions(model, views)
    gaussians = model.gaussians
    gaussians.keep_shown_colors()
    resting = model.body.shaped(model.poses.betas)
    positions = gaussians.canonical_centers(resting).detach()
    positions = positions * torch.tensor([1.0, 1.0, DEPTH_SCALE], device=positions.device)
    for person in range(model.people):
        own = (gaussians.person == person).nonzero()[:, 0]
        visible = own[contributions[own] > MIN_RELATIVE_CONTRIBUTION * contributions[own].mean()]
        if len(visible):
            hidden = own[~torch.isin(own, visible)]
            gaussians.colored_by[visible] = visible
            gaussians.colored_by[hidden] = visible[_nearest(positions[hidden], positions[visible])]


def max_contributions(model: SceneModel, views: Iterable[View]) -> Tensor:
    """Return the most that each Gaussian (N,) contributes to any view's interior, in pixels."""
    largest = torch.zeros(len(model.gaussians.person), device=model.poses.betas.device)
    for view in views:
        with torch.no_grad():
            posed = model.gaussians_at(view.index)
        marks = torch.ones_like(posed.means[:, :1], requires_grad=True)
        raster = rasterize(posed.means, posed.covars, posed.opacities, marks, view.camera)
        # Features are composited linearly: the gradient of their sum is each one's weight.
        (weights,) = torch.autograd.grad(raster.features[view.interior].sum(), marks)
        largest = torch.maximum(largest, weights[:, 0])
    return largest


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    parts = [torch.cdist(part, others).argmin(dim=1) for part in torch.split(points, CHUNK)]
    return torch.cat(parts)
