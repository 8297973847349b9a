"""Pinhole cameras on a ring around the people, as in a capture studio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FIELD_OF_VIEW = math.radians(40)
HEIGHTS = (0.2, 0.75)
"""Every second camera hangs higher, metres above the point that all look at."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, OpenCV axes (x right, y down, z forward), metres.

    `intrinsics` (3,3) in pixels, pixel centres at half-integers; `extrinsics` (3,4)
    world-to-camera.
    """

    intrinsics: Array
    extrinsics: Array

    @property
    def center(self) -> Array:
        """The camera's position in the world, (3,) metres."""
        return np.asarray(-self.extrinsics[:, :3].T @ self.extrinsics[:, 3])


def make_camera_ring(
    count: int, target: Array, radius: float, image_size: tuple[int, int]
) -> list[Camera]:
    """Place `count` cameras at equal angles, `radius` metres from `target` (3,).

    The third looks along -z, at the faces of people who face +z. Images are `image_size` pixels
    wide and high; FIELD_OF_VIEW is that of the shorter side, so that everyone is inside.
    """
    width, height = image_size
    focal = min(image_size) / 2 / math.tan(FIELD_OF_VIEW / 2)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return [
        Camera(intrinsics, look_at(_camera_position(index, count, target, radius), target))
        for index in range(count)
    ]


def _camera_position(index: int, count: int, target: Array, radius: float) -> Array:
    angle = 2 * math.pi * (index - 2) / count
    height = HEIGHTS[index % len(HEIGHTS)]
    flat = math.sqrt(radius**2 - height**2)
    arm = np.array([flat * math.sin(angle), height, flat * math.cos(angle)])
    return np.asarray(target + arm)


def look_at(center: Array, target: Array) -> Array:
    """Return (3,4) world-to-camera of an upright camera at `center` that looks at `target`."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward])
    return np.hstack([turn, -(turn @ center)[:, None]])
