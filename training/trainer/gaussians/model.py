"""The model of a scene: each person's canonical Gaussians, and everyone's pose in each frame.

Names of parameters and buffers are keys of the checkpoint: renaming one makes old ones unreadable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import roma
import torch
from torch import Tensor, nn
from torch.nn import functional

from preprocess.body.body_model import BodyModel
from preprocess.body.joints import BODY_JOINTS
from training.trainer.gaussians.body_parameters import BodyParameters
from training.trainer.gaussians.surface import SurfacePoints, initial_scales, skinning_weights

INITIAL_OPACITY = 0.9
INITIAL_COLOR = 0.5  # grey: nothing is taken from the images before training


@dataclass(frozen=True)
class ViewDependence:
    """How colours change with the direction that N Gaussians are seen from.

    `harmonics` (N, (degree + 1)² - 1, 3): coefficients of spherical harmonics from degree 1 on, in
    canonical directions, which `turns` (N, 3, 3) takes to the world.
    """

    degree: int
    harmonics: Tensor
    turns: Tensor


@dataclass(frozen=True)
class PosedGaussians:
    """N Gaussians in the world at one frame.

    means (N, 3), covars (N, 3, 3), opacities (N,), features (N, 3 + P): colour, one-hot person.
    """

    means: Tensor
    covars: Tensor
    opacities: Tensor
    features: Tensor
    view_dependence: ViewDependence | None = None


class Poses(nn.Module):
    """The body parameters that are fitted, starting from the estimates of the scene data.

    Corrections are one row per frame with sparse gradients, so that a step moves its own frame
    only.
    """

    def __init__(self, estimated: BodyParameters) -> None:
        super().__init__()
        frames, people, _, _ = estimated.pose.shape
        self.people = people
        self.betas = nn.Parameter(estimated.betas.clone())
        self.register_buffer("first_pose", estimated.pose)
        self.register_buffer("first_trans", estimated.trans)
        # As estimated: nothing fits the face, and a checkpoint needs no copy.
        self.register_buffer("expression", estimated.expression, persistent=False)
        self.first_pose: Tensor
        self.first_trans: Tensor
        self.expression: Tensor | None
        self.turns = _zero_embedding(frames, people * len(BODY_JOINTS) * 3)
        self.shifts = _zero_embedding(frames, people * 3)

    def corrections(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is added to the estimates at frame indices (F,).

        Rotations (F, P, 22, 3) rad, translations (F, P, 3) metres.
        """
        turns = self.turns(frames).view(len(frames), self.people, len(BODY_JOINTS), 3)
        return turns, self.shifts(frames).view(len(frames), self.people, 3)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return pose (F, P, J, 3) and trans (F, P, 3) at frame indices (F,)."""
        turns, shifts = self.corrections(frames)
        uncorrected = self.first_pose.shape[2] - len(BODY_JOINTS)  # fingers and face of SMPL-X
        pose = self.first_pose[frames] + functional.pad(turns, (0, 0, 0, uncorrected))
        return pose, self.first_trans[frames] + shifts


class Gaussians(nn.Module):
    """The canonical Gaussians of all people, one person after the other, N in all.

    `person` (N,) is whose each is; `corners` (N, 3) and `shares` (N, 3) are the vertices of its
    triangle and its barycentric weights. `colored_by` (N,) is the Gaussian whose colour each one
    shows: itself, until hidden ones copy (visibility.py).
    """

    def __init__(self, surfaces: Sequence[SurfacePoints], sh_degree: int = 0) -> None:
        super().__init__()
        self.sh_degree = sh_degree
        counts = torch.tensor([len(points.corners) for points in surfaces])
        self.register_buffer("person", torch.arange(len(surfaces)).repeat_interleave(counts))
        self.register_buffer("corners", torch.cat([points.corners for points in surfaces]))
        self.register_buffer("shares", torch.cat([points.shares for points in surfaces]))
        # Over the joints of all people, so that one product poses everyone: zero on the others'.
        weights = torch.block_diag(*[points.weights for points in surfaces])  # type: ignore[no-untyped-call]
        # They follow from corners and shares, and would be half of a checkpoint (SceneModel).
        self.register_buffer("weights", weights, persistent=False)
        scales = [
            initial_scales(points).log().expand(len(points.corners), 3) for points in surfaces
        ]
        self.register_buffer("first_scales", torch.cat(scales))
        self.person: Tensor
        self.corners: Tensor
        self.shares: Tensor
        self.weights: Tensor
        self.first_scales: Tensor
        self.colored_by: Tensor
        total = int(counts.sum())
        self.register_buffer("colored_by", torch.arange(total))
        self.offsets = nn.Parameter(torch.zeros(total, 3))
        self.scales = nn.Parameter(self.first_scales.clone())
        self.rotations = nn.Parameter(torch.cat([points.quaternions for points in surfaces]))
        self.opacities = nn.Parameter(torch.full((total,), _logit(INITIAL_OPACITY)))
        self.colors = nn.Parameter(torch.full((total, 3), _logit(INITIAL_COLOR)))
        if sh_degree:
            self.harmonics = nn.Parameter(torch.zeros(total, (sh_degree + 1) ** 2 - 1, 3))
        self.register_load_state_dict_pre_hook(_take_saved_count)  # type: ignore[no-untyped-call]

    def canonical_centers(self, resting: Tensor) -> Tensor:
        """Return centers (N, 3) around the resting vertices (P, V, 3) of each person."""
        corners = resting[self.person[:, None], self.corners]
        return (corners * self.shares[..., None]).sum(1) + self.offsets

    def shown_colors(self) -> Tensor:
        """Return colours (N, 3) in [0, 1]."""
        return self.colors.sigmoid()[self.colored_by]

    @torch.no_grad()
    def keep_shown_colors(self) -> None:
        """Overwrite every Gaussian's own colour by the one it shows."""
        self.colors.copy_(self.colors[self.colored_by])
        if self.sh_degree:
            self.harmonics.copy_(self.harmonics[self.colored_by])

    def posed(self, resting: Tensor, transforms: Tensor) -> PosedGaussians:
        """Move the Gaussians by the skinning transforms (P, J, 4, 4) of each person."""
        blended = (self.weights @ transforms[..., :3, :].flatten(0, 1).flatten(1)).view(-1, 3, 4)
        means = (blended[..., :3] @ self.canonical_centers(resting)[..., None])[..., 0] + blended[
            ..., 3
        ]
        rotations = roma.unitquat_to_rotmat(functional.normalize(self.rotations, dim=-1))
        factor = blended[..., :3] @ (rotations * self.scales.exp()[:, None, :])
        features = torch.cat(
            [self.shown_colors(), functional.one_hot(self.person, len(transforms)).to(means)], dim=1
        )
        view_dependence = None
        if self.sh_degree:
            shown = self.harmonics[self.colored_by]
            view_dependence = ViewDependence(self.sh_degree, shown, blended[..., :3])
        opacities = self.opacities.sigmoid()
        return PosedGaussians(means, factor @ factor.mT, opacities, features, view_dependence)


class SceneModel(nn.Module):
    """Gaussians and poses together, over one parametric body."""

    def __init__(self, body: BodyModel, poses: Poses, gaussians: Gaussians) -> None:
        super().__init__()
        self.body = body
        self.poses = poses
        self.gaussians = gaussians
        self.register_load_state_dict_post_hook(_restore_weights)  # type: ignore[no-untyped-call]

    @property
    def people(self) -> int:
        """P, the number of people."""
        return self.poses.people

    def gaussians_at(self, index: int) -> PosedGaussians:
        """Return everyone's Gaussians at a frame index."""
        frames = torch.tensor([index], device=self.poses.betas.device)
        betas, pose, trans, expression = self._bodies(frames)
        resting = self.body.resting(betas, pose, expression)
        transforms, _ = self.body.joint_transforms(betas, pose, trans, expression)
        return self.gaussians.posed(resting[0], transforms[0])

    def joints(self, frames: Tensor) -> Tensor:
        """Return the posed body joints (F, P, 22, 3) at frame indices (F,), metres."""
        return self.body.joint_transforms(*self._bodies(frames))[1][:, :, : len(BODY_JOINTS)]

    def vertices(self, frames: Tensor) -> Tensor:
        """Return the posed vertices of the bodies (F, P, V, 3) at frame indices (F,), metres."""
        return self.body.vertices(*self._bodies(frames))

    def with_bodies(self, body: BodyModel, parameters: BodyParameters) -> SceneModel:
        """Return the same Gaussians on other bodies of the same kind, in other poses."""
        device = self.poses.betas.device
        return SceneModel(body.to(device), Poses(parameters).to(device), self.gaussians)

    def _bodies(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return everyone's betas, pose, trans and expression (F, P, ...) at frame indices (F,)."""
        pose, trans = self.poses(frames)
        betas = self.poses.betas.expand(len(frames), *self.poses.betas.shape)
        faces = self.poses.expression
        return betas, pose, trans, None if faces is None else faces[frames]


def _restore_weights(model: SceneModel, _: object) -> None:
    """Compute the skinning weights of Gaussians that were loaded: the same bits as before."""
    gaussians, body = model.gaussians, model.body.to("cpu")
    person, corners, shares = (
        each.cpu() for each in (gaussians.person, gaussians.corners, gaussians.shares)
    )
    weights = torch.zeros(len(person), model.people * body.joint_count)
    for number in range(model.people):
        own = (person == number).nonzero()[:, 0]
        joints = slice(number * body.joint_count, (number + 1) * body.joint_count)
        weights[own, joints] = skinning_weights(body.of_person(number), corners[own], shares[own])
    gaussians.weights = weights.to(gaussians.weights)


def _take_saved_count(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Make room for as many Gaussians as a saved state has: densification changes their number."""
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, tensor in tensors:
        saved = state.get(prefix + name)
        if saved is not None and saved.shape[1:] == tensor.shape[1:]:
            tensor.data = tensor.new_empty(saved.shape)


def _zero_embedding(frames: int, width: int) -> nn.Embedding:
    rows = nn.Embedding(frames, width, sparse=True)
    nn.init.zeros_(rows.weight)
    return rows


def _logit(value: float) -> float:
    return float(torch.logit(torch.tensor(value)))
