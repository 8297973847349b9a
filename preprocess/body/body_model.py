"""The parametric body: an SMPL-X or SMPL model file, or the bundled one, and its skinning.

Source: Loper et al., SMPL (2015), eq. 2 to 10, and Pavlakos et al., SMPL-X (2019): shape, facial
expression and pose-dependent corrections displace the template's vertices, joints are regressed
from shape and expression, each moves rigidly, and the transforms are blended by weights. The
bundled body has neither expressions nor corrections. The builder of synthetic scenes and the
trainer both use this one implementation.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from torch import Tensor

from preprocess.body.joints import BODY_JOINTS, HANDS
from preprocess.scene_data import Space

__all__ = [
    "BODY_FILE",
    "TRANSLATION_KEYS",
    "BodyFileError",
    "BodyModel",
    "Space",
    "load_body",
    "pose_vector",
    "skin",
    "stack_bodies",
]

BODY_FILE = Path(__file__).parent.parent / "assets" / "body.npz"
JOINT_COUNTS: dict[Space, tuple[int, ...]] = {"smplx": (55, 22), "smpl": (24,)}
POSE_KEYS: dict[Space, tuple[str, ...]] = {
    "smplx": (
        "root_pose",
        "body_pose",
        "jaw_pose",
        "leye_pose",
        "reye_pose",
        "lhand_pose",
        "rhand_pose",
    ),
    "smpl": ("global_orient", "body_pose"),
}
TRANSLATION_KEYS: dict[Space, str] = {"smplx": "trans", "smpl": "transl"}
FIRST_EXPRESSION = {400: 300, 20: 10}
"""Of SMPL-X files by their number of shape directions: those from here on are expressions."""


class BodyFileError(Exception):
    """A body model file can't be used; the message has the path and what was expected."""


@dataclass(frozen=True)
class BodyModel:
    """V vertices, J joints, B shape directions; metres, y up, facing +z, float32.

    `template` (V,3), `shape_directions` (V,3,B), `regressor` (J,V), `weights` (V,J),
    `parents` (J, -1 for the root), `faces` (F,3); where the file has them `expression_directions`
    (V,3,E) and `pose_directions` (V,3,9(J-1)), the corrections by the joints' rotation matrices.
    All but parents and faces may have an axis of P people in front (`stack_bodies`): parameters
    then have one before the last axis of betas and before the last two of poses, as they have
    anyway.
    """

    template: Tensor
    shape_directions: Tensor
    regressor: Tensor
    weights: Tensor
    parents: tuple[int, ...]
    faces: Tensor
    expression_directions: Tensor | None = None
    pose_directions: Tensor | None = None

    @property
    def joint_count(self) -> int:
        """J, the number of joints."""
        return len(self.parents)

    def to(self, device: torch.device | str) -> BodyModel:
        """Return the same model with its tensors on `device`."""
        moved: dict[str, Any] = {
            name: tensor.to(device) for name, tensor in self._own_tensors().items()
        }
        return replace(self, faces=self.faces.to(device), **moved)

    def of_person(self, person: int) -> BodyModel:
        """Return the model of one person where each has an own one, else this model."""
        if self.template.ndim == len(("V", "3")):
            return self
        chosen: dict[str, Any] = {
            name: tensor[person] for name, tensor in self._own_tensors().items()
        }
        return replace(self, **chosen)

    def truncated(self, joints: int) -> BodyModel:
        """Return the model of the first `joints` joints; the others' skin follows their parents."""
        weights = self.weights.clone()
        for joint in range(self.joint_count - 1, joints - 1, -1):
            weights[..., self.parents[joint]] += weights[..., joint]
        corrections = self.pose_directions
        return replace(
            self,
            regressor=self.regressor[..., :joints, :],
            weights=weights[..., :joints],
            parents=self.parents[:joints],
            pose_directions=None if corrections is None else corrections[..., : 9 * (joints - 1)],
        )

    def shaped(self, betas: Tensor, expression: Tensor | None = None) -> Tensor:
        """Return resting vertices (...,V,3) for betas (...,B) and expression (...,E).

        Coefficients that are not given are 0; those that the model lacks are ignored.
        """
        vertices = self.template + _displacement(self.shape_directions, betas)
        if expression is None or self.expression_directions is None:
            return vertices
        return vertices + _displacement(self.expression_directions, expression)

    def resting(self, betas: Tensor, pose: Tensor, expression: Tensor | None = None) -> Tensor:
        """Return vertices (...,V,3) as they are skinned: shaped, and corrected for the pose.

        The corrections are linear in the entries of the rotation matrices of all joints but the
        root, less the identity (Loper et al., eq. 9). Arguments as for `joint_transforms`.
        """
        return self.corrected(self.shaped(betas, expression), roma.rotvec_to_rotmat(pose))

    def corrected(self, vertices: Tensor, rotations: Tensor) -> Tensor:
        """Return shaped `vertices` (...,V,3), corrected for joints' `rotations` (...,J,3,3)."""
        if self.pose_directions is None:
            return vertices
        rotations = rotations[..., 1 : self.joint_count, :, :]
        departures = rotations - torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        return vertices + _displacement(self.pose_directions, departures.flatten(-3))

    def joint_transforms(
        self, betas: Tensor, pose: Tensor, trans: Tensor, expression: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return skinning transforms (...,J,4,4), from rest to posed, and posed joints (...,J,3).

        `betas` (...,B), `pose` (...,J,3) axis-angle (joints beyond the model's are ignored),
        `trans` (...,3) metres, `expression` (...,E). Differentiable in all of them.
        """
        rest = self.regressor @ self.shaped(betas, expression)
        return self.rotation_transforms(rest, roma.rotvec_to_rotmat(pose), trans)

    def rotation_transforms(
        self, rest: Tensor, rotations: Tensor, trans: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what `joint_transforms` does, of joints `rest` (...,J,3) turned by `rotations`.

        These are (...,J,3,3); those beyond the model's joints are ignored.
        """
        rotations_in_world, positions = self._forward_kinematics(rotations, rest)
        positions = positions + trans[..., None, :]
        shift = positions - torch.einsum("...jab,...jb->...ja", rotations_in_world, rest)
        upper = torch.cat([rotations_in_world, shift[..., None]], dim=-1)
        last = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:-2], 1, 4)
        return torch.cat([upper, last], dim=-2), positions

    def vertices(
        self, betas: Tensor, pose: Tensor, trans: Tensor, expression: Tensor | None = None
    ) -> Tensor:
        """Return posed vertices (...,V,3); arguments as for `joint_transforms`."""
        transforms, _ = self.joint_transforms(betas, pose, trans, expression)
        return skin(self.resting(betas, pose, expression), self.weights, transforms)

    def _own_tensors(self) -> dict[str, Tensor]:
        """Return what differs between people, by name; what the file lacks is left out."""
        found = {name: getattr(self, name) for name in OWN_TENSORS}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def _forward_kinematics(self, rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the world rotation and position of every joint, composed from the root on."""
        world_rotations, positions = [rotations[..., 0, :, :]], [rest[..., 0, :]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = rest[..., joint, :] - rest[..., parent, :]
            positions.append(
                positions[parent] + (world_rotations[parent] @ bone[..., None])[..., 0]
            )
            world_rotations.append(world_rotations[parent] @ rotations[..., joint, :, :])
        return torch.stack(world_rotations, dim=-3), torch.stack(positions, dim=-2)


OWN_TENSORS = (
    "template",
    "shape_directions",
    "regressor",
    "weights",
    "expression_directions",
    "pose_directions",
)
"""Fields of BodyModel that differ between the files of women, men and everyone."""


def stack_bodies(bodies: Sequence[BodyModel]) -> BodyModel:
    """Return one model of P people with a body each; one that all share is returned as it is.

    Raises BodyFileError when they are not of one kind: other vertices, faces or joints.
    """
    first = bodies[0]
    if all(body is first for body in bodies):
        return first
    for body in bodies:
        alike = body.parents == first.parents and torch.equal(body.faces, first.faces)
        alike = alike and body.template.shape == first.template.shape
        names = body._own_tensors().keys()  # noqa: SLF001 - of the same class
        if not alike or names != first._own_tensors().keys():  # noqa: SLF001
            what = "vertices, faces, joints or directions"
            raise BodyFileError(f"body files of one scene differ in {what}")
    fields = {
        name: [_first_directions(getattr(body, name), name, bodies) for body in bodies]
        for name in first._own_tensors()  # noqa: SLF001
    }
    stacked: dict[str, Any] = {name: torch.stack(each) for name, each in fields.items()}
    return replace(first, **stacked)


def skin(points: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Blend transforms (...,J,4,4) by weights (N,J) and apply them to points (...,N,3).

    The weights may have axes of their own in front.
    """
    equation = "nj,...jab->...nab" if weights.ndim == len(("N", "J")) else "...nj,...jab->...nab"
    blended = torch.einsum(equation, weights, transforms[..., :3, :])
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


def load_body(path: Path = BODY_FILE, space: Space = "smplx") -> BodyModel:
    """Read an SMPL-X model file, an SMPL one (as .npz) or the bundled one.

    The bundled file has SMPL's 24 joints; in the space "smplx" the hands follow the wrists (22
    joints). Raises BodyFileError naming the file when it is missing, not a model, or of another
    space.
    """
    arrays = _read_arrays(path)
    parents = np.asarray(arrays["kintree_table"][0]).astype(np.int64).tolist()
    directions = _tensor(arrays["shapedirs"])
    count = directions.shape[-1] if directions.ndim else 0
    first = (
        FIRST_EXPRESSION.get(count, count) if len(parents) == max(JOINT_COUNTS[space]) else count
    )
    corrections = arrays.get("posedirs")
    model = BodyModel(
        template=_tensor(arrays["v_template"]),
        shape_directions=directions[..., :first],
        regressor=_tensor(arrays["J_regressor"]),
        weights=_normalized(_tensor(arrays["weights"])),
        parents=(-1, *parents[1:]),  # the root's parent is -1 or 2**32 - 1, as the file likes
        faces=torch.from_numpy(np.asarray(arrays["f"]).astype(np.int64)),
        expression_directions=directions[..., first:] if first < count else None,
        pose_directions=None if corrections is None else _tensor(corrections),
    )
    _check(path, model)
    if space == "smplx" and model.joint_count == len(BODY_JOINTS + HANDS):
        return model.truncated(len(BODY_JOINTS))
    if model.joint_count not in JOINT_COUNTS[space]:
        expected = " or ".join(map(str, JOINT_COUNTS[space]))
        what = f"{path} has {model.joint_count} joints; a model for {space} has {expected}"
        raise BodyFileError(what)
    return model


def pose_vector(parameters: Mapping[str, Any], space: Space = "smplx") -> Tensor:
    """Concatenate one frame's body parameters (preprocess/layout.py) to (P,J,3) axis-angle."""
    parts = [torch.as_tensor(parameters[key]).float() for key in POSE_KEYS[space]]
    return torch.cat([part.reshape(len(part), -1, 3) for part in parts], dim=1)


def _read_arrays(path: Path) -> dict[str, Any]:
    keys = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")
    expected = (
        f"expected an .npz with {', '.join(keys)} (an SMPL-X model file, or {BODY_FILE.name})"
    )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in (*keys, *(key for key in OPTIONAL if key in file))}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BodyFileError(f"{path} can't be read: {error}; {expected}") from error


OPTIONAL = ("posedirs",)


def _check(path: Path, model: BodyModel) -> None:
    count, joints = len(model.template), model.joint_count
    shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "v_template": (model.template, (count, 3)),
        "shapedirs": (model.shape_directions, (count, 3, model.shape_directions.shape[-1])),
        "J_regressor": (model.regressor, (joints, count)),
        "weights": (model.weights, (count, joints)),
        "posedirs": (model.pose_directions, (count, 3, 9 * (joints - 1))),
    }
    for key, (tensor, expected) in shapes.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != expected:
            what = f"{path}: {key} has the shape {tuple(tensor.shape)}, expected {expected}"
            raise BodyFileError(what)
        if not tensor.isfinite().all():
            raise BodyFileError(f"{path}: {key} has values that are not finite")


def _displacement(directions: Tensor, coefficients: Tensor) -> Tensor:
    """Return how far (...,V,3) coefficients (...,N) move vertices along directions (...,V,3,M).

    Of the two numbers of coefficients the smaller counts: those missing are 0.
    """
    count = min(coefficients.shape[-1], directions.shape[-1])
    shared = directions.ndim == len(("V", "3", "M"))
    equation = "vcb,...b->...vc" if shared else "...vcb,...b->...vc"
    return torch.einsum(equation, directions[..., :count], coefficients[..., :count])


def _first_directions(tensor: Tensor, name: str, bodies: Sequence[BodyModel]) -> Tensor:
    """Return a tensor of a body with as many directions as all bodies have."""
    if name not in ("shape_directions", "expression_directions"):
        return tensor
    return tensor[..., : min(getattr(body, name).shape[-1] for body in bodies)]


def _normalized(weights: Tensor) -> Tensor:
    # Files round them; a metre off the origin a sum of 0.9999 would be off by 0.1 mm.
    return weights / weights.sum(dim=1, keepdim=True)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.asarray(array).astype(np.float32))
