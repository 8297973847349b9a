"""Clothes and hair on a body: the dressed resting shape, and the colour of each of its points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocess.joints import BODY_JOINTS
from preprocess.mesh_renderer import vertex_normals
from preprocess.wardrobe import Cloth, Color, Person

Array = NDArray[Any]

# How far cloth and hair stand off the skin, metres.
TOP, BOTTOM, SHOE, HAIR = 0.016, 0.014, 0.008, 0.025
WAIST = 0.1  # above the pelvis joint
NECKLINE = -0.02  # above the neck joint
# Of the face, from the head joint: crown, hairline, eyes and mouth.
CROWN, HAIRLINE, EAR = 0.155, 0.095, 0.02
EYE, MOUTH = (0.034, 0.045), (0.0, -0.037)


class Landmarks(NamedTuple):
    """Where each of N resting points lies on the body.

    `pelvis`, `neck`, `head` (N,3): position from that joint, metres. `along_arm`, `along_leg` (N,):
    0 shoulder (hip), 1 elbow (knee), 2 wrist (ankle). `on_arm`, `on_leg`, `on_foot`, `on_hand`,
    `on_head` (N,): share of the skinning weights, 0 to 1.
    """

    pelvis: Array
    neck: Array
    head: Array
    along_arm: Array
    along_leg: Array
    on_arm: Array
    on_leg: Array
    on_foot: Array
    on_hand: Array
    on_head: Array


def landmarks(vertices: Array, joints: Array, weights: Array) -> Landmarks:
    """The landmarks of resting `vertices` (V,3) with 22 `joints` (22,3) and `weights` (V,22)."""
    at = {name: joints[index] for index, name in enumerate(BODY_JOINTS)}
    return Landmarks(
        pelvis=vertices - at["pelvis"],
        neck=vertices - at["neck"],
        head=vertices - at["head"],
        along_arm=_along(vertices, at, ("shoulder", "elbow", "wrist")),
        along_leg=_along(vertices, at, ("hip", "knee", "ankle")),
        on_arm=_share(weights, "shoulder", "elbow", "wrist"),
        on_leg=_share(weights, "hip", "knee", "ankle", "foot"),
        on_foot=_share(weights, "ankle", "foot"),
        on_hand=_share(weights, "wrist"),
        on_head=_share(weights, "head"),
    )


def _along(vertices: Array, at: dict[str, Array], chain: tuple[str, str, str]) -> Array:
    """How many joints of the chain each vertex has passed, on its own side of the body."""
    total = np.zeros(len(vertices))
    for side, chosen in (("left", vertices[:, 0] >= 0), ("right", vertices[:, 0] < 0)):
        for start, end in zip(chain, chain[1:], strict=False):
            origin = at[f"{side}_{start}"]
            bone = at[f"{side}_{end}"] - origin
            share = (vertices[chosen] - origin) @ bone / (bone @ bone)
            total[chosen] += np.clip(share, 0, 1)
    return total


def _share(weights: Array, *parts: str) -> Array:
    columns = [index for index, name in enumerate(BODY_JOINTS) if name.split("_")[-1] in parts]
    return np.asarray(weights[:, columns].sum(axis=1))


class Worn(NamedTuple):
    """What covers each of N points, (N,) booleans; a point with none is skin."""

    hair: Array
    top: Array
    bottom: Array
    shoes: Array


def worn(person: Person, where: Landmarks) -> Worn:
    """What of the person's outfit covers the points at `where`."""
    hair = _is_hair(person, where)
    limb = (where.on_arm > 0.5) | (where.on_leg > 0.5) | (where.on_head > 0.5)
    torso = ~limb & (where.neck[:, 1] < NECKLINE)
    above_waist = where.pelvis[:, 1] > WAIST
    arm = (where.on_arm > 0.5) & (where.on_hand < 0.5)
    shoes = where.on_foot > 0.5
    top = (torso & above_waist) | (arm & (where.along_arm < person.sleeve))
    leg = (where.on_leg > 0.5) & ~above_waist & (where.along_leg < person.leg)
    return Worn(hair, top & ~hair, ((torso & ~above_waist) | leg) & ~shoes, shoes)


def _is_hair(person: Person, where: Landmarks) -> Array:
    x, y, z = where.head.T
    scalp = (where.on_head > 0.5) & ((y > HAIRLINE) | ((z < EAR) & (y > 0.0)))
    falls = (z < -0.02) & (np.abs(x) < 0.1) & (y > CROWN - person.hair_length)
    return np.asarray(scalp | (falls & (where.on_arm < 0.5)))


def dressed(person: Person, vertices: Array, faces: Array, where: Landmarks) -> Array:
    """Resting vertices (V,3) with the thickness of what is worn."""
    covered = worn(person, where)
    flare = 0.03 * np.clip(where.along_leg - 1, 0, 1)
    thickness = (
        TOP * covered.top
        + (BOTTOM + flare) * covered.bottom
        + SHOE * covered.shoes
        + HAIR * covered.hair
    )
    return vertices + thickness[:, None] * vertex_normals(vertices, faces)


def colors(person: Person, where: Landmarks) -> Array:
    """(N,3) colours from 0 to 1 of the points at `where`, unshaded."""
    covered = worn(person, where)
    result = np.broadcast_to(_rgb(person.skin), (len(where.head), 3)).copy()
    _paint_face(result, where)
    across, down = _cloth_coordinates(where)
    result[covered.bottom] = _cloth(person.bottom, across, down)[covered.bottom]
    result[covered.top] = _cloth(person.top, across, down)[covered.top]
    result[covered.shoes] = _rgb(person.shoes)
    strands = 0.9 + 0.1 * np.sin(where.head[:, 0] * 250)
    result[covered.hair] = _rgb(person.hair) * strands[covered.hair, None]
    return result


def _paint_face(result: Array, where: Landmarks) -> None:
    x, y, z = where.head.T
    front = (where.on_head > 0.5) & (z > 0.06)
    eyes = front & (np.hypot(np.abs(x) - EYE[0], (y - EYE[1]) * 1.4) < 0.014)
    mouth = front & (np.hypot((x - MOUTH[0]) * 0.45, y - MOUTH[1]) < 0.011)
    result[eyes] = (0.12, 0.09, 0.09)
    result[mouth] *= (0.8, 0.45, 0.45)


def _cloth_coordinates(where: Landmarks) -> tuple[Array, Array]:
    """Metres across and down the cloth: along the limbs, and from the pelvis on the torso."""
    on_arm, on_leg = where.on_arm > 0.5, where.on_leg > 0.5
    down = np.where(on_arm, where.along_arm * 0.28, -where.pelvis[:, 1])
    down = np.where(on_leg, where.along_leg * 0.45, down)
    return where.pelvis[:, 0] + where.pelvis[:, 2], down


def _cloth(cloth: Cloth, across: Array, down: Array) -> Array:
    u, v = across / cloth.period, down / cloth.period
    second = {
        "plain": np.zeros(len(u), dtype=bool),
        "stripes": v % 1 < 0.5,
        "bands": u % 1 < 0.3,
        "checks": (u % 1 < 0.5) ^ (v % 1 < 0.5),
        "dots": np.hypot((u + 0.5 * (v // 1)) % 1 - 0.5, v % 1 - 0.5) < 0.3,
    }[cloth.pattern]
    return np.where(second[:, None], _rgb(cloth.second), _rgb(cloth.first))


def _rgb(color: Color) -> Array:
    return np.array(color) / 255
