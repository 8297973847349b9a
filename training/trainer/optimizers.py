"""The optimizers: Adam for Gaussians and body shape, sparse Adam for each frame's pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.trainer.config.schema import LearningRates
from training.trainer.gaussians.model import SceneModel


@dataclass(frozen=True)
class Optimizers:
    """The optimizers of poses, body shape and Gaussians; a stage steps some of them."""

    poses: torch.optim.Optimizer
    shape: torch.optim.Optimizer
    gaussians: torch.optim.Optimizer

    def step(self, *, poses: bool, gaussians: bool, fraction: float) -> None:
        """Take one step with the chosen ones at `fraction` of their initial learning rates.

        Clear the gradients of all parameters afterwards.
        """
        chosen = [self.poses, self.shape] * poses + [self.gaussians] * gaussians
        for optimizer in chosen:
            for group in optimizer.param_groups:
                group["lr"] = group["first_lr"] * fraction
            optimizer.step()
        for optimizer in (self.poses, self.shape, self.gaussians):
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return plain data and tensors for the checkpoint."""
        return {name: optimizer.state_dict() for name, optimizer in vars(self).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        for name, optimizer in vars(self).items():
            optimizer.load_state_dict(state[name])


def make_optimizers(model: SceneModel, rates: LearningRates) -> Optimizers:
    """Return optimizers over all parameters of `model`, each with its own learning rate."""
    poses, gaussians = model.poses, model.gaussians
    harmonics = [_group(gaussians.harmonics, rates.harmonics)] if gaussians.sh_degree else []
    return Optimizers(
        poses=torch.optim.SparseAdam(
            [
                _group(poses.turns.weight, rates.pose_rotation),
                _group(poses.shifts.weight, rates.pose_translation),
            ]
        ),
        shape=torch.optim.Adam([_group(poses.betas, rates.shape)]),
        gaussians=torch.optim.Adam(
            [
                _group(gaussians.offsets, rates.position),
                _group(gaussians.scales, rates.scale),
                _group(gaussians.rotations, rates.rotation),
                _group(gaussians.opacities, rates.opacity),
                _group(gaussians.colors, rates.color),
                *harmonics,
            ],
            eps=1e-15,  # gradients of single Gaussians are tiny
        ),
    )


def _group(parameter: Tensor, rate: float) -> dict[str, Any]:
    return {"params": [parameter], "lr": rate, "first_lr": rate}
