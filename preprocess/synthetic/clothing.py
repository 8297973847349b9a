"""Garments and hair on a body: the dressed resting shape, and the colour of each of its points."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocess.body.joints import BODY_JOINTS
from preprocess.synthetic.mesh_renderer import vertex_normals
from preprocess.synthetic.wardrobe import Cloth, Color, Person

Array = NDArray[Any]

MAJORITY = 0.5  # share of the skinning weights from which a point belongs to a part of the body
# How far cloth and hair stand off the skin, and how much wider trousers are at the ankle; metres.
TOP, BOTTOM, SHOE, HAIR, FLARE = 0.016, 0.014, 0.008, 0.025, 0.03
WAIST = 0.1  # above the pelvis joint
NECKLINE = -0.02  # above the neck joint
# Seen from the head joint, metres: x to the left, y up, z forward.
CROWN, HAIRLINE, EARS_TOP = 0.155, 0.095, 0.0
BEFORE_EARS, NAPE, HAIR_HALF_WIDTH = 0.02, -0.02, 0.1
FACE, EYE, MOUTH = 0.06, (0.034, 0.045), (0.0, -0.037)
EYE_SIZE, MOUTH_SIZE = (0.014, 0.01), (0.024, 0.011)
ARM_SEGMENT, LEG_SEGMENT = 0.28, 0.45
HALF, BAND_WIDTH, DOT_RADIUS = 0.5, 0.3, 0.3  # of a period


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


class GarmentMasks(NamedTuple):
    """What covers each of N points, (N,) booleans; a point with none is skin."""

    hair: Array
    top: Array
    bottom: Array
    shoes: Array


def find_landmarks(vertices: Array, joints: Array, weights: Array) -> Landmarks:
    """Return the landmarks of resting `vertices` (V,3).

    `joints` (22,3) and skinning `weights` (V,22) are those of the same body.
    """
    at = {name: joints[index] for index, name in enumerate(BODY_JOINTS)}
    return Landmarks(
        pelvis=vertices - at["pelvis"],
        neck=vertices - at["neck"],
        head=vertices - at["head"],
        along_arm=_joints_passed(vertices, at, ("shoulder", "elbow", "wrist")),
        along_leg=_joints_passed(vertices, at, ("hip", "knee", "ankle")),
        on_arm=_weight_share(weights, "shoulder", "elbow", "wrist"),
        on_leg=_weight_share(weights, "hip", "knee", "ankle", "foot"),
        on_foot=_weight_share(weights, "ankle", "foot"),
        on_hand=_weight_share(weights, "wrist"),
        on_head=_weight_share(weights, "head"),
    )


def garment_masks(person: Person, landmarks: Landmarks) -> GarmentMasks:
    """Return which points are covered by which part of the person's outfit."""
    hair = _is_hair(person, landmarks)
    arm, leg, head = (
        part > MAJORITY for part in (landmarks.on_arm, landmarks.on_leg, landmarks.on_head)
    )
    torso = ~(arm | leg | head) & (landmarks.neck[:, 1] < NECKLINE)
    above_waist = landmarks.pelvis[:, 1] > WAIST
    shoes = landmarks.on_foot > MAJORITY
    sleeve = arm & (landmarks.on_hand < MAJORITY) & (landmarks.along_arm < person.sleeve)
    trousers = leg & ~shoes & (landmarks.along_leg < person.leg)
    return GarmentMasks(
        hair=hair,
        top=((torso & above_waist) | sleeve) & ~hair,
        bottom=(torso | trousers) & ~above_waist,
        shoes=shoes,
    )


def add_garments(person: Person, vertices: Array, faces: Array, landmarks: Landmarks) -> Array:
    """Return the resting vertices (V,3), moved outwards by the thickness of what covers them."""
    covered = garment_masks(person, landmarks)
    flare = FLARE * np.clip(landmarks.along_leg - 1, 0, 1)
    thickness = (
        TOP * covered.top
        + (BOTTOM + flare) * covered.bottom
        + SHOE * covered.shoes
        + HAIR * covered.hair
    )
    return np.asarray(vertices + thickness[:, None] * vertex_normals(vertices, faces))


def point_colors(person: Person, landmarks: Landmarks) -> Array:
    """Return unshaded colours (N,3) from 0 to 1 of the points with these landmarks."""
    covered = garment_masks(person, landmarks)
    result = np.broadcast_to(_rgb(person.skin), (len(landmarks.head), 3)).copy()
    _paint_face(result, landmarks)
    across, down = _cloth_coordinates(landmarks)
    for cloth, points in ((person.bottom, covered.bottom), (person.top, covered.top)):
        result[points] = _cloth(cloth, across[points], down[points])
    result[covered.shoes] = _rgb(person.shoes)
    strands = 0.9 + 0.1 * np.sin(landmarks.head[covered.hair, 0] * 250)
    result[covered.hair] = _rgb(person.hair) * strands[:, None]
    return result


def _joints_passed(vertices: Array, at: dict[str, Array], chain: tuple[str, str, str]) -> Array:
    """Return how many joints of the chain each vertex has passed, on its own side of the body."""
    total = np.zeros(len(vertices))
    for side, chosen in (("left", vertices[:, 0] >= 0), ("right", vertices[:, 0] < 0)):
        for start, end in pairwise(chain):
            origin = at[f"{side}_{start}"]
            bone = at[f"{side}_{end}"] - origin
            share = (vertices[chosen] - origin) @ bone / (bone @ bone)
            total[chosen] += np.clip(share, 0, 1)
    return total


def _weight_share(weights: Array, *parts: str) -> Array:
    columns = [index for index, name in enumerate(BODY_JOINTS) if name.split("_")[-1] in parts]
    return np.asarray(weights[:, columns].sum(axis=1))


def _is_hair(person: Person, landmarks: Landmarks) -> Array:
    x, y, z = landmarks.head.T
    scalp = (y > HAIRLINE) | ((z < BEFORE_EARS) & (y > EARS_TOP))
    falls = (z < NAPE) & (np.abs(x) < HAIR_HALF_WIDTH) & (y > CROWN - person.hair_length)
    return np.asarray(
        (scalp & (landmarks.on_head > MAJORITY)) | (falls & (landmarks.on_arm < MAJORITY))
    )


def _paint_face(result: Array, landmarks: Landmarks) -> None:
    x, y, z = landmarks.head.T
    front = (landmarks.on_head > MAJORITY) & (z > FACE)
    eyes = front & _in_ellipse(np.abs(x) - EYE[0], y - EYE[1], EYE_SIZE)
    mouth = front & _in_ellipse(x - MOUTH[0], y - MOUTH[1], MOUTH_SIZE)
    result[eyes] = (0.12, 0.09, 0.09)
    result[mouth] *= (0.8, 0.45, 0.45)


def _in_ellipse(x: Array, y: Array, radii: tuple[float, float]) -> Array:
    return np.asarray((x / radii[0]) ** 2 + (y / radii[1]) ** 2 < 1)


def _cloth_coordinates(landmarks: Landmarks) -> tuple[Array, Array]:
    """Return metres across and down the cloth: along limbs, and from the pelvis on the torso."""
    down = np.where(
        landmarks.on_arm > MAJORITY, landmarks.along_arm * ARM_SEGMENT, -landmarks.pelvis[:, 1]
    )
    down = np.where(landmarks.on_leg > MAJORITY, landmarks.along_leg * LEG_SEGMENT, down)
    return landmarks.pelvis[:, 0] + landmarks.pelvis[:, 2], down


def _cloth(cloth: Cloth, across: Array, down: Array) -> Array:
    row, column = down / cloth.period, across / cloth.period
    second = {
        "plain": np.zeros(len(row), dtype=bool),
        "stripes": row % 1 < HALF,
        "bands": column % 1 < BAND_WIDTH,
        "checks": (column % 1 < HALF) ^ (row % 1 < HALF),
        # Every second row of dots is shifted by half a period.
        "dots": np.hypot((column + row // 1 * HALF) % 1 - HALF, row % 1 - HALF) < DOT_RADIUS,
    }[cloth.pattern]
    return np.where(second[:, None], _rgb(cloth.second), _rgb(cloth.first))


def _rgb(color: Color) -> Array:
    return np.array(color) / 255
