"""The optimizers: Adam for Gaussians and body shape, sparse Adam for each frame's pose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.trainer.config.schema import Optimization
from training.trainer.gaussians.model import SceneModel

NAMES = ("poses", "shape", "gaussians")


@dataclass
class Optimizers:
    """The optimizers of poses, body shape and Gaussians; a stage steps some of them.

    A step is taken for every `batch_size` frames, by the mean of their gradients, of which that of
    the Gaussians is shortened to `grad_clip`, where there is one.
    """

    poses: torch.optim.Optimizer
    shape: torch.optim.Optimizer
    gaussians: torch.optim.Optimizer
    batch_size: int = 1
    grad_clip: float | None = None
    pending: list[torch.optim.Optimizer] = field(default_factory=list)
    """What the next step moves; empty between batches."""
    frames: int = 0
    """How many frames' gradients have been added up for it."""

    def step(self, *, poses: bool, gaussians: bool, fraction: float) -> None:
        """Count a frame whose gradients have been added, and step where a batch is complete.

        The chosen ones step at `fraction` of their initial learning rates.
        """
        self.pending = [self.poses, self.shape] * poses + [self.gaussians] * gaussians
        self.frames += 1
        for optimizer in self.pending:
            for group in optimizer.param_groups:
                group["lr"] = group["first_lr"] * fraction
        if self.frames == self.batch_size:
            self.finish_batch()

    def finish_batch(self) -> None:
        """Step by the gradients of the frames since the last step, and clear all gradients."""
        everyone = [getattr(self, name) for name in NAMES]
        for optimizer in self.pending:
            if self.frames > 1:
                _scale_gradients(optimizer, 1 / self.frames)
            if optimizer is self.gaussians and self.grad_clip is not None:
                torch.nn.utils.clip_grad_norm_(_parameters(optimizer), self.grad_clip)
            optimizer.step()
        for optimizer in everyone:
            optimizer.zero_grad(set_to_none=True)
        self.pending, self.frames = [], 0

    def state_dict(self) -> dict[str, Any]:
        """Return plain data and tensors for the checkpoint."""
        return {name: getattr(self, name).state_dict() for name in NAMES}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        for name in NAMES:
            getattr(self, name).load_state_dict(state[name])


def make_optimizers(model: SceneModel, settings: Optimization) -> Optimizers:
    """Return optimizers over the trained parameters of `model`, each with its learning rate.

    Those of the Gaussians that are not trained are frozen.
    """
    poses, gaussians, rates = model.poses, model.gaussians, settings.learning_rate
    parameters = {
        "position": gaussians.offsets,
        "scale": gaussians.scales,
        "rotation": gaussians.rotations,
        "opacity": gaussians.opacities,
        "color": gaussians.colors,
    }
    if gaussians.sh_degree:
        parameters["harmonics"] = gaussians.harmonics
    groups = []
    for name, parameter in parameters.items():
        if TRAINED_WITH.get(name, name) in settings.train_params:
            rate = getattr(rates, name) if settings.lr is None else settings.lr
            decay = settings.weight_decay if name in DECAYED else 0.0
            groups.append({**_group(parameter, rate), "weight_decay": decay})
        else:
            parameter.requires_grad_(False)
    return Optimizers(
        poses=torch.optim.SparseAdam(
            [
                _group(poses.turns.weight, rates.pose_rotation),
                _group(poses.shifts.weight, rates.pose_translation),
            ]
        ),
        shape=torch.optim.Adam([_group(poses.betas, rates.shape)]),
        gaussians=torch.optim.AdamW(groups, eps=1e-15),  # gradients of single ones are tiny
        batch_size=settings.batch_size,
        grad_clip=settings.grad_clip,
    )


TRAINED_WITH = {"harmonics": "color"}
"""What of train_params a parameter that it does not name belongs to."""
DECAYED = ("position", "color", "harmonics")
"""Parameters whose zero means something: on the body's surface, grey, the same from all sides."""


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _scale_gradients(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for parameter in _parameters(optimizer):
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def _group(parameter: Tensor, rate: float) -> dict[str, Any]:
    return {"params": [parameter], "lr": rate, "first_lr": rate}
