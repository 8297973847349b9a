"""How the people of a synthetic scene move: poses given by the directions of their limbs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import roma
import torch
from torch import Tensor

from preprocess.body.body_model import BodyModel
from preprocess.body.joints import BODY_JOINTS

Vector = tuple[float, float, float]
# A limb segment is named by the joint it starts from, and ends at the joint it leads to.
SEGMENT_ENDS = {
    f"{side}_{start}": f"{side}_{end}"
    for side in ("left", "right")
    for start, end in (
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("hip", "knee"),
        ("knee", "ankle"),
    )
}
STANDING: dict[str, Vector] = {
    "left_shoulder": (0.28, -0.95, 0.0),
    "right_shoulder": (-0.28, -0.95, 0.0),
    "left_elbow": (0.1, -0.95, 0.25),
    "right_elbow": (-0.1, -0.95, 0.25),
    "left_hip": (0.1, -1.0, 0.02),
    "right_hip": (-0.1, -1.0, 0.02),
    "left_knee": (0.03, -1.0, -0.06),
    "right_knee": (-0.03, -1.0, -0.06),
}


@dataclass(frozen=True)
class LimbPose:
    """One person at one moment.

    `place` x, z of the pelvis on the floor (m), `heading` turn about y (rad, 0 faces +z), `spine`
    and `head` axis-angle over the whole spine and neck (rad), `limbs` directions of the segments
    that don't hang as in STANDING; in the person's own axes: x to the left, y up, z forward.
    """

    place: tuple[float, float]
    heading: float
    spine: Vector = (0.0, 0.0, 0.0)
    head: Vector = (0.0, 0.0, 0.0)
    limbs: Mapping[str, Vector] = field(default_factory=dict)


def solve_pose(body: BodyModel, betas: Tensor, limb_pose: LimbPose) -> tuple[Tensor, Tensor]:
    """Return pose (22,3) axis-angle and translation (3,) that put the feet on the floor, y = 0."""
    pose = _pose(body, betas, limb_pose)
    pelvis = (body.regressor @ body.shaped(betas))[0]
    lowest = body.vertices(betas, pose, torch.zeros(3))[:, 1].min()
    return pose, torch.stack(
        [limb_pose.place[0] - pelvis[0], -lowest, limb_pose.place[1] - pelvis[2]]
    )


def _pose(body: BodyModel, betas: Tensor, limb_pose: LimbPose) -> Tensor:
    rest = body.regressor @ body.shaped(betas)
    facing = _turn(torch.tensor([0.0, limb_pose.heading, 0.0]))
    turned: list[Tensor] = []
    local: list[Tensor] = []
    for joint, name in enumerate(BODY_JOINTS):
        parent = turned[body.parents[joint]] if joint else torch.eye(3)
        local.append(_local_rotation(name, limb_pose, facing, parent, rest))
        turned.append(parent @ local[joint])
    pose: Tensor = roma.rotmat_to_rotvec(torch.stack(local))
    return pose


def _local_rotation(
    name: str, limb_pose: LimbPose, facing: Tensor, parent: Tensor, rest: Tensor
) -> Tensor:
    if name == "pelvis":
        return facing
    if name.startswith("spine"):
        return _turn(torch.tensor(limb_pose.spine) / 3)
    if name in ("neck", "head"):
        return _turn(torch.tensor(limb_pose.head) / 2)
    if name.endswith("ankle"):  # the sole stays level
        return parent.T @ facing
    if name not in SEGMENT_ENDS:
        return torch.eye(3)
    start, end = BODY_JOINTS.index(name), BODY_JOINTS.index(SEGMENT_ENDS[name])
    aim = facing @ torch.tensor(limb_pose.limbs.get(name, STANDING[name]))
    return _shortest_rotation(rest[end] - rest[start], parent.T @ aim)


def _shortest_rotation(source: Tensor, target: Tensor) -> Tensor:
    """Return the (3,3) rotation that turns the direction `source` into `target` without twist."""
    axis = torch.linalg.cross(source, target)
    angle = torch.atan2(axis.norm(), source @ target)
    return _turn(axis / axis.norm().clamp_min(1e-9) * angle)


def _turn(rotvec: Tensor) -> Tensor:
    matrix: Tensor = roma.rotvec_to_rotmat(rotvec)
    return matrix


def wave(person: int, time: float) -> LimbPose:
    """Return the pose of one of two who stand side by side, turn to and fro, and wave.

    Each waves with the outer hand; the other hand is on the hip.
    """
    swing = math.sin(2 * math.pi * (2 * time + 0.35 * person))
    turn = 0.6 * math.sin(2 * math.pi * time)
    sign = -1.0 if person == 0 else 1.0  # the first stands to the right and waves with the right
    outer, inner = ("right", "left") if person == 0 else ("left", "right")
    limbs = {
        f"{outer}_shoulder": (sign * 0.85, 0.35 + 0.1 * swing, 0.25),
        f"{outer}_elbow": (sign * (0.15 + 0.55 * swing), 0.9, 0.3),
        f"{inner}_shoulder": (-sign * 0.62, -0.75, -0.25),
        f"{inner}_elbow": (sign * 0.55, -0.5, 0.5),
        f"{outer}_hip": (sign * 0.16, -1.0, 0.05 * swing),
    }
    return LimbPose(
        place=(sign * 0.42 + 0.03 * swing, 0.05 * person),
        heading=sign * (turn - 0.25),
        spine=(0.03, 0.0, -sign * 0.08 * swing),
        head=(0.05 * swing, 0.25 * math.sin(2 * math.pi * time), 0.1 * sign),
        limbs=limbs,
    )


def hug(person: int, time: float) -> LimbPose:
    """Return the pose of one of two who step together and turn around in each other's arms."""
    near = _smooth(time / 0.5)
    sway = math.sin(4 * math.pi * time)
    sign = -1.0 if person == 0 else 1.0
    upper, lower = ((0.02, 0.9), (0.2, 0.65)) if person == 0 else ((-0.5, 0.75), (-0.05, 0.7))
    limbs: dict[str, Vector] = {}
    for side, outward in (("left", 1.0), ("right", -1.0)):
        limbs[f"{side}_shoulder"] = (outward * (0.85 - 0.45 * near), upper[0], upper[1])
        limbs[f"{side}_elbow"] = (outward * (0.35 - 0.95 * near), lower[0], lower[1])
    limbs["left_hip"] = (0.1, -1.0, 0.2 * sway)
    limbs["right_hip"] = (-0.1, -1.0, -0.15 * sway)
    gap = 0.5 - 0.27 * near
    turn = 2.4 * (time - 0.4)
    return LimbPose(
        place=(sign * gap * math.cos(turn), -sign * gap * math.sin(turn)),
        heading=-sign * math.pi / 2 + turn,
        spine=(0.12 * near, 0.0, 0.06 * sway),
        head=(0.1 * near, 0.35 * near, 0.2 * near),
        limbs=limbs,
    )


def dance(person: int, time: float) -> LimbPose:
    """Return the pose of one of two who bounce from foot to foot while they turn once around.

    The arms go up in turn.
    """
    phase = 2 * math.pi * (time + 0.5 * person)
    beat, slow = math.sin(2 * phase), math.sin(phase)
    sign = -1.0 if person == 0 else 1.0
    left, right = max(0.0, beat), max(0.0, -beat)
    limbs = {
        "left_shoulder": (0.8, 0.45 * slow + 0.2, 0.3),
        "left_elbow": (0.35 - 0.4 * beat, 0.85, 0.35),
        "right_shoulder": (-0.85, -0.45 * slow - 0.1, 0.25),
        "right_elbow": (-0.3 - 0.3 * beat, 0.2 - 0.6 * slow, 0.75),
        "left_hip": (0.16, -1.0, 0.75 * left),
        "left_knee": (0.05, -1.0, -0.75 * left - 0.1),
        "right_hip": (-0.16, -1.0, 0.75 * right),
        "right_knee": (-0.05, -1.0, -0.75 * right - 0.1),
    }
    return LimbPose(
        place=(sign * 0.5 + 0.07 * beat, 0.12 * slow * sign),
        heading=sign * (2 * math.pi * time - 0.5),
        spine=(0.08, 0.25 * slow, 0.14 * beat),
        head=(0.12 * beat, -0.2 * slow, 0.0),
        limbs=limbs,
    )


def talk(person: int, time: float) -> LimbPose:
    """Return the pose of one of three in a circle: one explains with both hands, the others nod."""
    phase = 2 * math.pi * (time + person / 3)
    swing, quick = math.sin(phase), math.sin(2 * phase)
    angle = 2 * math.pi * person / 3 + math.pi / 2
    explaining = {
        "left_shoulder": (0.4, -0.8, 0.35 + 0.15 * quick),
        "left_elbow": (0.15 + 0.25 * swing, 0.15 + 0.3 * quick, 0.9),
        "right_shoulder": (-0.45, -0.8, 0.3),
        "right_elbow": (-0.2 + 0.2 * quick, 0.3 * swing, 0.9),
    }
    arms_crossed = {
        "left_shoulder": (0.35, -0.85, 0.3),
        "left_elbow": (-0.8, 0.12 + 0.05 * swing, 0.5),
        "right_shoulder": (-0.35, -0.85, 0.35),
        "right_elbow": (0.75, 0.3 + 0.05 * swing, 0.6),
    }
    hand_on_hip: dict[str, Vector] = {
        "right_shoulder": (-0.62, -0.75, -0.25),
        "right_elbow": (0.55, -0.5, 0.5),
        "left_shoulder": (0.35, -0.8, 0.3 + 0.2 * swing),
        "left_elbow": (0.1, 0.55 * quick, 0.85),
    }
    return LimbPose(
        place=(0.62 * math.cos(angle) + 0.03 * swing, -0.62 * math.sin(angle)),
        heading=angle - math.pi / 2 + 0.35 * swing,
        spine=(0.06 * quick, 0.12 * swing, 0.04 * swing),
        head=(0.15 * quick, 0.3 * swing, 0.0),
        limbs=(explaining, arms_crossed, hand_on_hip)[person],
    )


def _smooth(value: float) -> float:
    value = min(1.0, max(0.0, value))
    return value * value * (3 - 2 * value)


ACTIONS: dict[str, Callable[[int, float], LimbPose]] = {
    "wave": wave,
    "hug": hug,
    "dance": dance,
    "talk": talk,
}
"""Each function returns the pose of a person (0, 1, …) at a time from 0 to 1."""
