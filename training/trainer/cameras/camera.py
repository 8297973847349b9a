"""A pinhole camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: viewmat (4, 4) world-to-camera in OpenCV axes, intrinsics (3, 3) pixels."""

    viewmat: Tensor
    intrinsics: Tensor
    width: int
    height: int

    def to(self, device: torch.device | str) -> Camera:
        """Return the same camera with its tensors on `device`."""
        viewmat, intrinsics = self.viewmat.to(device), self.intrinsics.to(device)
        return Camera(viewmat, intrinsics, self.width, self.height)

    @property
    def position(self) -> Tensor:
        """The camera's center in the world, (3,), metres."""
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]

    @property
    def narrow_half_angle(self) -> float:
        """Half of the smaller field of view, rad."""
        ratios = (self.width / self.intrinsics[0, 0], self.height / self.intrinsics[1, 1])
        return math.atan(0.5 * float(min(ratios)))
