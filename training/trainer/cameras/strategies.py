"""Strategies that place virtual cameras around the people.

To add one: write a function of the type PlacementStrategy, enter it into STRATEGIES, add its name
to `Strategy` in config/schema.py and to the comment of `runtime_camera.strategy` in train.yaml.
Type checker and tests refuse what is incomplete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import roma
import torch
from torch import Tensor
from torch.nn import functional

from training.trainer.cameras.camera import Camera, PixelBox
from training.trainer.config.schema import RuntimeCamera, Strategy

PELVIS, NECK = 0, 12  # of the body's joints


@dataclass(frozen=True)
class PeopleBounds:
    """Where the people are over all frames, metres.

    `center` (3,), the `radius` around it that holds everyone, and the unit direction `up` (3,) of
    their upright bodies.
    """

    center: Tensor
    radius: float
    up: Tensor


def people_bounds(joints: Tensor, settings: RuntimeCamera) -> PeopleBounds:
    """Return where the people with these joints (F, P, 22, 3) are over all F frames."""
    joints = joints.detach().cpu()
    points = joints.flatten(0, -2)
    center = (points.amin(0) + points.amax(0)) / 2
    upright = (joints[..., NECK, :] - joints[..., PELVIS, :]).flatten(0, -2).mean(0)
    if settings.up is not None:
        upright = torch.tensor(settings.up, dtype=upright.dtype)
    radius = float((points - center).norm(dim=-1).max()) + settings.body_radius_m
    return PeopleBounds(center, radius, _unit(upright))


def static_orbit(
    people: PeopleBounds, source: Camera, settings: RuntimeCamera, count: int
) -> list[Camera]:
    """Place cameras on a full circle, as far away as the field of view needs to hold everyone.

    The first camera stands half a step beside the source camera's direction.
    """
    offset = _offset_that_holds(people, source, settings)
    angles = [2 * math.pi * (i + 0.5) / count for i in range(count)]
    return [_orbit_camera(people, source, offset, angle) for angle in angles]


def source_arc(
    people: PeopleBounds, source: Camera, settings: RuntimeCamera, count: int
) -> list[Camera]:
    """Place cameras on both sides of the source camera, at its height and distance, on an arc."""
    offset = source.position - people.center
    arc = math.radians(settings.arc_deg)
    angles = [arc * ((i + 0.5) / count - 0.5) for i in range(count)]
    if count % 2:  # the middle one would coincide with the source camera
        angles[count // 2] = arc / 2
    return [_orbit_camera(people, source, offset, angle) for angle in angles]


def framed(shots: Sequence[tuple[Camera, Tensor]], reach_m: float, longest: int) -> list[Camera]:
    """Return the cameras with what shows people in any of them, in images of one size.

    `shots` are cameras of one size, each with the points (N, 3) that it looks at, from which people
    reach that far; `longest` is the longer side of the images, pixels.
    """
    corners = [_covered_corners(camera, points, reach_m) for camera, points in shots]
    low = torch.stack([first for first, _ in corners]).amin(0).floor().long().tolist()
    high = torch.stack([last for _, last in corners]).amax(0).ceil().long().tolist()
    box = PixelBox(*low, *high)
    return [camera.cropped(box).resized(longest) for camera, _ in shots]


def _covered_corners(camera: Camera, points: Tensor, reach_m: float) -> tuple[Tensor, Tensor]:
    """Return the corners (2,) in pixels of a box that holds balls of that radius around points."""
    seen = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = (seen / seen[:, 2:]) @ camera.intrinsics.T
    reach = reach_m * camera.intrinsics.diagonal()[:2] / seen[:, 2:]
    return (pixels[:, :2] - reach).amin(0), (pixels[:, :2] + reach).amax(0)


def swing(
    people: PeopleBounds, source: Camera, settings: RuntimeCamera, count: int
) -> list[Camera]:
    """Place cameras along a way from the source camera's direction to both sides and back to it.

    They stand as far away as those of `static_orbit`; the sides are the ends of `source_arc`.
    """
    offset = _offset_that_holds(people, source, settings)
    widest = math.radians(settings.arc_deg) / 2
    angles = [widest * math.sin(2 * math.pi * i / count) for i in range(count)]
    return [_orbit_camera(people, source, offset, angle) for angle in angles]


PlacementStrategy = Callable[[PeopleBounds, Camera, RuntimeCamera, int], list[Camera]]
"""Called with the people, the source camera, the settings and the number of cameras to place."""

STRATEGIES: dict[Strategy, PlacementStrategy] = {
    "static_orbit": static_orbit,
    "source_arc": source_arc,
}
"""By the value of `train.nv_generation.trn_nv_gen.runtime_camera.strategy`."""


def sides_outwards(
    people: PeopleBounds, source: Camera, cameras: Sequence[Camera]
) -> tuple[list[int], list[int]]:
    """Return the indices of the cameras on each side of the source camera, from it outwards.

    Sides are those of the half circles around the people, seen along their `up`.
    """
    ahead = _horizontal(source.position - people.center, people.up)
    aside = torch.linalg.cross(people.up, ahead)
    arms = [camera.position - people.center for camera in cameras]
    angles = [math.atan2(float(arm @ aside), float(arm @ ahead)) for arm in arms]
    outwards = sorted(range(len(cameras)), key=lambda at: abs(angles[at]))
    return [at for at in outwards if angles[at] < 0], [at for at in outwards if angles[at] >= 0]


def look_at(position: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Return world-to-camera (4, 4) of a camera at `position` (3,) that looks at `target` (3,)."""
    forward = _unit(target - position)
    right = _unit(torch.linalg.cross(forward, up))
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward])
    viewmat = torch.eye(4, dtype=position.dtype)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -rotation @ position
    return viewmat


def _offset_that_holds(people: PeopleBounds, source: Camera, settings: RuntimeCamera) -> Tensor:
    """Return the way (3,) from the people to a camera that sees all of them from the source's side.

    Its height is that of `elevation_deg`.
    """
    distance = settings.margin * people.radius / math.sin(source.narrow_half_angle)
    elevation = math.radians(settings.elevation_deg)
    flat = _horizontal(source.position - people.center, people.up)
    return distance * (math.cos(elevation) * flat + math.sin(elevation) * people.up)


def _orbit_camera(people: PeopleBounds, source: Camera, offset: Tensor, angle: float) -> Camera:
    position = people.center + _rotate(offset, people.up, angle)
    viewmat = look_at(position, people.center, people.up)
    return Camera(viewmat, source.intrinsics, source.width, source.height)


def _rotate(vector: Tensor, axis: Tensor, angle: float) -> Tensor:
    turn: Tensor = roma.rotvec_to_rotmat(angle * axis)
    return turn @ vector


def _horizontal(vector: Tensor, up: Tensor) -> Tensor:
    return _unit(vector - (vector @ up) * up)


def _unit(vector: Tensor) -> Tensor:
    return functional.normalize(vector, dim=0)
