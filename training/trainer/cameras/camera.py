"""A pinhole camera, and boxes of its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class PixelBox:
    """The pixels from `left`, `top` to just before `right`, `bottom`; empty where they cross."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> PixelBox:
        """Return the smallest box with every pixel (H, W) that is not zero."""
        rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
        if not len(rows):
            return cls(0, 0, 0, 0)
        return cls(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return max(0, self.right - self.left)

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return max(0, self.bottom - self.top)

    @property
    def slices(self) -> tuple[slice, slice]:
        """What cuts this box out of an array (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def union(self, other: PixelBox) -> PixelBox:
        """Return the smallest box that holds both; an empty one adds nothing."""
        if not (self.width and self.height):
            return other
        if not (other.width and other.height):
            return self
        return PixelBox(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def intersection(self, other: PixelBox) -> PixelBox:
        """Return the box of the pixels that are in both."""
        return PixelBox(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def grown(self, pad: int) -> PixelBox:
        """Return the box with `pad` more pixels on each side."""
        return PixelBox(self.left - pad, self.top - pad, self.right + pad, self.bottom + pad)

    def moved(self, left: int, top: int) -> PixelBox:
        """Return the box seen from the pixel `left`, `top`."""
        return PixelBox(self.left - left, self.top - top, self.right - left, self.bottom - top)


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
    def image_box(self) -> PixelBox:
        """The whole image."""
        return PixelBox(0, 0, self.width, self.height)

    def cropped(self, box: PixelBox) -> Camera:
        """Return the camera that sees only the pixels in `box`: its principal point is shifted."""
        intrinsics = self.intrinsics.clone()
        intrinsics[0, 2] -= box.left
        intrinsics[1, 2] -= box.top
        return replace(self, intrinsics=intrinsics, width=box.width, height=box.height)

    def resized(self, longest: int) -> Camera:
        """Return the camera that shows the same in an image whose longer side is `longest`."""
        factor = longest / max(self.width, self.height)
        width, height = (max(1, round(side * factor)) for side in (self.width, self.height))
        scale = torch.tensor([[width / self.width], [height / self.height], [1.0]])
        return replace(
            self, intrinsics=self.intrinsics * scale.to(self.intrinsics), width=width, height=height
        )

    @property
    def position(self) -> Tensor:
        """The camera's center in the world, (3,), metres."""
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]

    @property
    def narrow_half_angle(self) -> float:
        """Half of the smaller field of view, rad."""
        ratios = (self.width / self.intrinsics[0, 0], self.height / self.intrinsics[1, 1])
        return math.atan(0.5 * float(min(ratios)))
