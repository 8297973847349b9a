"""Views as tensors: what the source camera, a true camera or a novel camera sees at a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    load_camera,
    load_depth,
    load_image,
    load_mask,
)
from training.trainer.cameras.camera import Camera


@dataclass(frozen=True)
class View:
    """What one camera sees at one frame.

    `image` (H, W, 3) in [0, 1], masked onto the background; `masks` (H, W, P) 0 or 1, where people
    in front occlude others; `depth` (H, W) metres, 0 where unknown, or None. `frame` is the number
    in file names, `index` its position among the training frames.
    """

    camera_id: int
    frame: int
    index: int
    camera: Camera
    image: Tensor
    masks: Tensor
    depth: Tensor | None

    @property
    def interior(self) -> Tensor:
        """Pixels (H, W) that show nothing but one person.

        At the edge of a mask the image mixes the colours of both sides.
        """
        edge = functional.max_pool2d(1 - self.masks.permute(2, 0, 1), 3, stride=1, padding=1)
        return (edge < 1).any(0)


@dataclass(frozen=True)
class _CachedView:
    """A view in a quarter of the memory: 8-bit image and masks."""

    camera: Camera
    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    everyone: NDArray[np.bool_]
    depth: NDArray[np.float32] | None


@dataclass(frozen=True)
class ViewReader:
    """Reads the views of one scene folder, each file once."""

    folder: SceneFolder
    frames: Sequence[int]
    people: int
    background: float
    device: torch.device
    _cached: dict[tuple[int, int], _CachedView] = field(default_factory=dict)

    def for_folder(self, folder: SceneFolder) -> ViewReader:
        """Return a reader of the same frames and people in another folder."""
        return ViewReader(folder, self.frames, self.people, self.background, self.device)

    def view(self, camera_id: int, index: int) -> View:
        """Return the view of a camera at a frame index; raises SceneDataError."""
        key = (camera_id, index)
        if key not in self._cached:
            self._cached[key] = self._read(camera_id, self.frames[index])
        cached = self._cached[key]
        image = torch.tensor(cached.image).float() / 255
        everyone = torch.tensor(cached.everyone)[..., None]
        image = torch.where(everyone, image, self.background)
        depth = None if cached.depth is None else torch.from_numpy(cached.depth).to(self.device)
        return View(
            camera_id,
            self.frames[index],
            index,
            cached.camera,
            image.to(self.device),
            torch.from_numpy(cached.masks).float().to(self.device),
            depth,
        )

    def _read(self, camera_id: int, frame: int) -> _CachedView:
        at = (self.folder, camera_id, frame)
        image = load_image(*at)
        height, width = image.shape[:2]
        masks = [load_mask(self.folder, camera_id, person, frame) for person in range(self.people)]
        everyone = load_mask(self.folder, camera_id, EVERYONE, frame)
        depth = load_depth(*at) if self.folder.depth(camera_id, frame).exists() else None
        for name, plane in {"mask": everyone, "depth": depth}.items():
            if plane is not None and plane.shape != (height, width):
                what = f"the {name} of frame {frame} is {plane.shape}, its image {image.shape[:2]}"
                raise SceneDataError(f"{self.folder.root}: camera {camera_id}: {what}")
        camera = camera_of(load_camera(*at), width, height).to(self.device)
        return _CachedView(camera, image, np.stack(masks, axis=-1), everyone, depth)


def camera_of(data: CameraData, width: int, height: int) -> Camera:
    """Convert a camera of the scene data, whose images are `width` by `height` pixels."""
    viewmat = torch.eye(4)
    viewmat[:3] = torch.from_numpy(data.extrinsics)
    return Camera(viewmat, torch.from_numpy(data.intrinsics).float(), width, height)
