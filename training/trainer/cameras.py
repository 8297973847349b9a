"""Cameras, and the strategies that place virtual ones around the people."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.trainer.config import RuntimeCamera


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: viewmat (4, 4) world-to-camera in OpenCV axes, intrinsics (3, 3) pixels."""

    viewmat: Tensor
    intrinsics: Tensor
    width: int
    height: int

    def to(self, device: torch.device | str) -> Camera:
        """The same camera with its tensors on `device`."""
        viewmat, intrinsics = self.viewmat.to(device), self.intrinsics.to(device)
        return Camera(viewmat, intrinsics, self.width, self.height)

    @property
    def position(self) -> Tensor:
        """Where it stands, (3,), m."""
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]

    @property
    def narrow_half_angle(self) -> float:
        """Half of the smaller field of view, rad."""
        ratios = (self.width / self.intrinsics[0, 0], self.height / self.intrinsics[1, 1])
        return math.atan(0.5 * float(min(ratios)))


@dataclass(frozen=True)
class Surroundings:
    """Where the people are: their center (3,), the radius around it that holds them, m, and the
    direction (3,) of their upright bodies."""

    center: Tensor
    radius: float
    up: Tensor


def static_orbit(
    people: Surroundings, source: Camera, settings: RuntimeCamera, count: int
) -> list[Camera]:
    """A full circle around the people, as far away as the field of view needs to hold them, the
    first camera half a step beside the source camera's direction."""
    distance = settings.margin * people.radius / math.sin(source.narrow_half_angle)
    elevation = math.radians(settings.elevation_deg)
    flat = _horizontal(source.position - people.center, people.up)
    offset = distance * (math.cos(elevation) * flat + math.sin(elevation) * people.up)
    angles = [2 * math.pi * (i + 0.5) / count for i in range(count)]
    return [_orbited(people, source, offset, angle) for angle in angles]


def source_arc(
    people: Surroundings, source: Camera, settings: RuntimeCamera, count: int
) -> list[Camera]:
    """To both sides of the source camera, at its height and distance, evenly over `arc_deg`."""
    offset = source.position - people.center
    arc = math.radians(settings.arc_deg)
    angles = [arc * ((i + 0.5) / count - 0.5) for i in range(count)]
    if count % 2:  # the middle one would stand on the source camera
        angles[count // 2] = arc / 2
    return [_orbited(people, source, offset, angle) for angle in angles]


Place = Callable[[Surroundings, Camera, RuntimeCamera, int], list[Camera]]
STRATEGIES: dict[str, Place] = {"static_orbit": static_orbit, "source_arc": source_arc}


def look_at(position: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """World-to-camera (4, 4) of a camera at `position` (3,) that sees `target` in its middle."""
    forward = _unit(target - position)
    right = _unit(torch.linalg.cross(forward, up))
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward])
    viewmat = torch.eye(4, dtype=position.dtype)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -rotation @ position
    return viewmat


def _orbited(people: Surroundings, source: Camera, offset: Tensor, angle: float) -> Camera:
    position = people.center + _rotated(offset, people.up, angle)
    viewmat = look_at(position, people.center, people.up)
    return Camera(viewmat, source.intrinsics, source.width, source.height)


def _rotated(vector: Tensor, axis: Tensor, angle: float) -> Tensor:
    """Rodrigues' formula for a unit axis."""
    along = (vector @ axis) * axis
    side = torch.linalg.cross(axis, vector)
    return along + math.cos(angle) * (vector - along) + math.sin(angle) * side


def _horizontal(vector: Tensor, up: Tensor) -> Tensor:
    return _unit(vector - (vector @ up) * up)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-9)
