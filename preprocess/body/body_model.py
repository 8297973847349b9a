"""The parametric body: an SMPL-X model file (or the bundled one) and its linear blend skinning.

Source: Loper et al., SMPL (2015), eq. 2 to 4, and Pavlakos et al., SMPL-X (2019), without the
corrective shapes that depend on the pose: joints are regressed from the shaped template, each
moves rigidly, and the transforms are blended by weights. The builder of synthetic scenes and the
trainer both use this one implementation.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
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


class BodyFileError(Exception):
    """A body model file can't be used; the message has the path and what was expected."""


@dataclass(frozen=True)
class BodyModel:
    """V vertices, J joints, B shape directions; metres, y up, facing +z, float32.

    `template` (V,3), `shape_directions` (V,3,B), `regressor` (J,V), `weights` (V,J),
    `parents` (J, -1 for the root), `faces` (F,3).
    """

    template: Tensor
    shape_directions: Tensor
    regressor: Tensor
    weights: Tensor
    parents: tuple[int, ...]
    faces: Tensor

    @property
    def joint_count(self) -> int:
        """J, the number of joints."""
        return len(self.parents)

    def to(self, device: torch.device | str) -> BodyModel:
        """Return the same model with its tensors on `device`."""
        return replace(
            self,
            template=self.template.to(device),
            shape_directions=self.shape_directions.to(device),
            regressor=self.regressor.to(device),
            weights=self.weights.to(device),
            faces=self.faces.to(device),
        )

    def truncated(self, joints: int) -> BodyModel:
        """Return the model of the first `joints` joints; the others' skin follows their parents."""
        weights = self.weights.clone()
        for joint in range(self.joint_count - 1, joints - 1, -1):
            weights[:, self.parents[joint]] += weights[:, joint]
        return replace(
            self,
            regressor=self.regressor[:joints],
            weights=weights[:, :joints],
            parents=self.parents[:joints],
        )

    def shaped(self, betas: Tensor) -> Tensor:
        """Return resting vertices (...,V,3) for betas (...,N); absent ones are 0, extra ignored."""
        count = min(betas.shape[-1], self.shape_directions.shape[-1])
        directions = self.shape_directions[..., :count]
        return self.template + torch.einsum("vcb,...b->...vc", directions, betas[..., :count])

    def joint_transforms(self, betas: Tensor, pose: Tensor, trans: Tensor) -> tuple[Tensor, Tensor]:
        """Return skinning transforms (...,J,4,4), from rest to posed, and posed joints (...,J,3).

        `betas` (...,B), `pose` (...,J,3) axis-angle (joints beyond the model's are ignored),
        `trans` (...,3) metres. Differentiable in all of them.
        """
        rest = self.regressor @ self.shaped(betas)
        rotations = roma.rotvec_to_rotmat(pose[..., : self.joint_count, :])
        rotations_in_world, positions = self._forward_kinematics(rotations, rest)
        positions = positions + trans[..., None, :]
        shift = positions - torch.einsum("...jab,...jb->...ja", rotations_in_world, rest)
        upper = torch.cat([rotations_in_world, shift[..., None]], dim=-1)
        last = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:-2], 1, 4)
        return torch.cat([upper, last], dim=-2), positions

    def vertices(self, betas: Tensor, pose: Tensor, trans: Tensor) -> Tensor:
        """Return posed vertices (...,V,3); arguments as for `joint_transforms`."""
        transforms, _ = self.joint_transforms(betas, pose, trans)
        return skin(self.shaped(betas), self.weights, transforms)

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


def skin(points: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Blend transforms (...,J,4,4) by weights (N,J) and apply them to points (...,N,3)."""
    blended = torch.einsum("nj,...jab->...nab", weights, transforms[..., :3, :])
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


def load_body(path: Path = BODY_FILE, space: Space = "smplx") -> BodyModel:
    """Read an SMPL-X model file, an SMPL one (as .npz) or the bundled one.

    The bundled file has SMPL's 24 joints; in the space "smplx" the hands follow the wrists (22
    joints). Raises BodyFileError naming the file when it is missing, not a model, or of another
    space.
    """
    arrays = _read_arrays(path)
    parents = np.asarray(arrays["kintree_table"][0]).astype(np.int64).tolist()
    model = BodyModel(
        template=_tensor(arrays["v_template"]),
        shape_directions=_tensor(arrays["shapedirs"]),
        regressor=_tensor(arrays["J_regressor"]),
        weights=_normalized(_tensor(arrays["weights"])),
        parents=(-1, *parents[1:]),  # the root's parent is -1 or 2**32 - 1, as the file likes
        faces=torch.from_numpy(np.asarray(arrays["f"]).astype(np.int64)),
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
            return {key: file[key] for key in keys}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BodyFileError(f"{path} can't be read: {error}; {expected}") from error


def _check(path: Path, model: BodyModel) -> None:
    count, joints = len(model.template), model.joint_count
    shapes = {
        "v_template": (model.template, (count, 3)),
        "shapedirs": (model.shape_directions[..., 0], (count, 3)),
        "J_regressor": (model.regressor, (joints, count)),
        "weights": (model.weights, (count, joints)),
    }
    for key, (tensor, expected) in shapes.items():
        if tuple(tensor.shape) != expected:
            what = f"{path}: {key} has the shape {tuple(tensor.shape)}, expected {expected}"
            raise BodyFileError(what)


def _normalized(weights: Tensor) -> Tensor:
    # Files round them; a metre off the origin a sum of 0.9999 would be off by 0.1 mm.
    return weights / weights.sum(dim=1, keepdim=True)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.asarray(array).astype(np.float32))
