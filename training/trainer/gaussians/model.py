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

from preprocess.body.body_model import BodyModel, skin
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

    means (N, 3), covars (N, 3, 3), opacities (N,), features (N, 3 + P): colour, one-hot person;
    normals (N, 3) outwards, of any length. Their surface is dressed: `cloth_thickness_m` nearer
    to who looks at it.
    """

    means: Tensor
    covars: Tensor
    opacities: Tensor
    features: Tensor
    normals: Tensor
    cloth_thickness_m: float = 0.0
    view_dependence: ViewDependence | None = None


class Poses(nn.Module):
    """The body parameters that are fitted, starting from the estimates of the scene data.

    Corrections are one row per frame with sparse gradients, so that a step moves the frames that
    its loss looks at only. A joint's correction turns it before its estimate does, about the axes
    of its own bone: then a turn of the world, which changes the estimates, leaves them as they are.
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
        rotations = roma.rotvec_to_rotmat(estimated.pose)
        self.register_buffer("first_rotations", rotations, persistent=False)
        self.first_rotations: Tensor
        self.turns = _zero_embedding(frames, people * len(BODY_JOINTS) * 3)
        self.shifts = _zero_embedding(frames, people * 3)

    def corrections(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return how the estimates are corrected at frame indices (F,).

        Rotations (F, P, 22, 3) axis-angle, rad; translations (F, P, 3) metres.
        """
        turns = self.turns(frames).view(len(frames), self.people, len(BODY_JOINTS), 3)
        return turns, self.shifts(frames).view(len(frames), self.people, 3)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return rotations (F, P, J, 3, 3) and trans (F, P, 3) at frame indices (F,)."""
        turns, shifts = self.corrections(frames)
        estimated = self.first_rotations[frames]
        fitted = estimated[:, :, : len(BODY_JOINTS)] @ roma.rotvec_to_rotmat(turns)
        # Fingers and face of SMPL-X stay as they are.
        rotations = torch.cat([fitted, estimated[:, :, len(BODY_JOINTS) :]], dim=2)
        return rotations, self.first_trans[frames] + shifts


class Gaussians(nn.Module):
    """The canonical Gaussians of all people, one person after the other, N in all.

    `person` (N,) is whose each is; `corners` (N, 3) and `shares` (N, 3) are the vertices of its
    triangle and its barycentric weights. `colored_by` (N,) is the Gaussian whose colour each one
    shows: itself, until hidden ones copy (visibility.py).
    """

    def __init__(
        self,
        surfaces: Sequence[SurfacePoints],
        sh_degree: int = 0,
        cloth_thickness_m: float = 0.0,
    ) -> None:
        super().__init__()
        self.sh_degree = sh_degree
        self.cloth_thickness_m = cloth_thickness_m
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
        turned = blended[..., :3] @ rotations
        factor = turned * self.scales.exp()[:, None, :]
        features = torch.cat(
            [self.shown_colors(), functional.one_hot(self.person, len(transforms)).to(means)], dim=1
        )
        view_dependence = None
        if self.sh_degree:
            shown = self.harmonics[self.colored_by]
            view_dependence = ViewDependence(self.sh_degree, shown, blended[..., :3])
        return PosedGaussians(
            means,
            factor @ factor.mT,
            self.opacities.sigmoid(),
            features,
            turned[..., 2],
            self.cloth_thickness_m,
            view_dependence,
        )


class SceneModel(nn.Module):
    """Gaussians and poses together, over one parametric body.

    People grow and shrink about their pelvis, which stays where it was estimated to be while their
    shape is fitted, whichever point of the world their body model starts from.
    """

    def __init__(self, body: BodyModel, poses: Poses, gaussians: Gaussians) -> None:
        super().__init__()
        self.body = body
        self.poses = poses
        self.gaussians = gaussians
        betas = poses.betas.detach().to(body.template.device)
        pelvis = (body.regressor @ body.shaped(betas))[:, 0]
        self.register_buffer("first_pelvis", pelvis, persistent=False)
        self.first_pelvis: Tensor
        self.register_load_state_dict_post_hook(_restore_weights)  # type: ignore[no-untyped-call]

    @property
    def people(self) -> int:
        """P, the number of people."""
        return self.poses.people

    def gaussians_at(self, index: int) -> PosedGaussians:
        """Return everyone's Gaussians at a frame index."""
        frames = torch.tensor([index], device=self.poses.betas.device)
        rotations, trans = self.poses(frames)
        shaped = self._shaped(frames)
        transforms, _ = self._transforms(shaped, rotations, trans)
        return self.gaussians.posed(self.body.corrected(shaped, rotations)[0], transforms[0])

    def joints(self, frames: Tensor) -> Tensor:
        """Return the posed body joints (F, P, 22, 3) at frame indices (F,), metres."""
        _, joints = self._transforms(self._shaped(frames), *self.poses(frames))
        return joints[:, :, : len(BODY_JOINTS)]

    def vertices(self, frames: Tensor) -> Tensor:
        """Return the posed vertices of the bodies (F, P, V, 3) at frame indices (F,), metres."""
        rotations, trans = self.poses(frames)
        shaped = self._shaped(frames)
        transforms, _ = self._transforms(shaped, rotations, trans)
        return skin(self.body.corrected(shaped, rotations), self.body.weights, transforms)

    def with_bodies(self, body: BodyModel, parameters: BodyParameters) -> SceneModel:
        """Return the same Gaussians on other bodies of the same kind, in other poses."""
        device = self.poses.betas.device
        return SceneModel(body.to(device), Poses(parameters).to(device), self.gaussians)

    def _shaped(self, frames: Tensor) -> Tensor:
        """Return the resting vertices (F, P, V, 3) at frame indices (F,)."""
        betas = self.poses.betas.expand(len(frames), *self.poses.betas.shape)
        faces = self.poses.expression
        return self.body.shaped(betas, None if faces is None else faces[frames])

    def _transforms(
        self, shaped: Tensor, rotations: Tensor, trans: Tensor
    ) -> tuple[Tensor, Tensor]:
        joints = self.body.regressor @ shaped
        trans = trans + self.first_pelvis - joints[:, :, 0]
        return self.body.rotation_transforms(joints, rotations, trans)


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
