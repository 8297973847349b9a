"""A view: what one camera sees at one frame, as tensors and as it is kept in memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.trainer.cameras.camera import Camera, PixelBox

BITS = 8


@dataclass(frozen=True)
class View:
    """What one camera sees at one frame, or a part of it.

    `image` (H, W, 3) in [0, 1], masked onto the background; `masks` (H, W, P) 0 or 1, where people
    in front occlude others; `depth` (H, W) metres, 0 where unknown, or None. `frame` is the number
    in file names, `index` its position among the training frames. `part_of` is height and width
    of the whole image where this is a part of it; `camera` is then the camera of that part.
    """

    camera_id: int
    frame: int
    index: int
    camera: Camera
    image: Tensor
    masks: Tensor
    depth: Tensor | None
    part_of: tuple[int, int] | None = None

    @property
    def interior(self) -> Tensor:
        """Pixels (H, W) that show nothing but one person.

        At the edge of a mask the image mixes the colours of both sides.
        """
        edge = functional.max_pool2d(1 - self.masks.permute(2, 0, 1), 3, stride=1, padding=1)
        return (edge < 1).any(0)

    def share(self, window: int = 1) -> float:
        """Return which share of the whole image's windows of that side, pixels, this part has.

        Of what is 0 elsewhere, the mean over this part times its share is the whole image's mean.
        """
        if self.part_of is None:
            return 1.0
        height, width = self.image.shape[:2]
        return _windows(height, width, window) / _windows(*self.part_of, window)


@dataclass(frozen=True)
class StoredView:
    """What one camera sees at one frame: 8-bit image, a bit a mask, each cut to its content.

    `image` (h, w, 3) and `bits` (h, w, B) lie in the box `people`, outside of which is background;
    the bits are everyone's mask, then those of the persons 0, 1, … `depth` lies in the box `known`,
    outside of which it is 0.
    """

    camera_id: int
    frame: int
    index: int
    camera: Camera
    people: PixelBox
    image: NDArray[np.uint8]
    bits: NDArray[np.uint8]
    count: int
    known: PixelBox
    depth: NDArray[np.float32] | None

    @property
    def bytes(self) -> int:
        """Memory of the arrays, bytes."""
        depth = 0 if self.depth is None else self.depth.nbytes
        return self.image.nbytes + self.bits.nbytes + depth

    def view(self, background: float, device: torch.device, box: PixelBox | None = None) -> View:
        """Return the view, or the part of it in `box`, as tensors on `device`."""
        whole = self.camera.image_box
        box = box or whole
        masks = self._masks(device)
        image = torch.from_numpy(self.image).to(device).float().div_(255)
        image = torch.where(masks[..., :1], image, background)
        depth = self.depth
        return View(
            self.camera_id,
            self.frame,
            self.index,
            (self.camera if box == whole else self.camera.cropped(box)).to(device),
            _placed(image, self.people, box, background),
            _placed(masks[..., 1:].float(), self.people, box, 0.0),
            None
            if depth is None
            else _placed(torch.from_numpy(depth).to(device), self.known, box, 0.0),
            None if box == whole else (whole.height, whole.width),
        )

    def _masks(self, device: torch.device) -> Tensor:
        """Return booleans (h, w, 1 + P): everyone, then each person."""
        bits = torch.from_numpy(self.bits).to(device)
        planes = [(bits[..., i // BITS] >> i % BITS) & 1 for i in range(self.count)]
        return torch.stack(planes, dim=-1).bool()


def store_view(
    place: tuple[int, int, int],
    camera: Camera,
    image: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    depth: NDArray[np.float32] | None,
) -> StoredView:
    """Return the stored form of an image (H, W, 3), masks (H, W) and depth (H, W).

    `place` is camera id, frame and index; the first mask is everyone's.
    """
    stacked = np.stack(masks, axis=-1)
    people = PixelBox.of(np.asarray(stacked.any(axis=-1)))
    known = PixelBox(0, 0, 0, 0) if depth is None else PixelBox.of(depth)
    return StoredView(
        *place,
        camera=camera,
        people=people,
        image=image[people.slices].copy(),
        bits=np.packbits(stacked[people.slices], axis=-1, bitorder="little"),
        count=len(masks),
        known=known,
        depth=None if depth is None else depth[known.slices].copy(),
    )


class ViewCache:
    """Stored views by key, up to a number of bytes: those that came first are kept.

    Training visits every view once an epoch in random order. Throwing out the oldest would then
    lose most views just before they are needed again.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._views: dict[Hashable, StoredView] = {}
        self._lock = Lock()

    def get(self, key: Hashable) -> StoredView | None:
        """Return the view of a key, or None."""
        return self._views.get(key)

    def keep(self, key: Hashable, view: StoredView) -> None:
        """Keep a view if there is room for it."""
        with self._lock:
            if key not in self._views and self.bytes + view.bytes <= self.max_bytes:
                self._views[key] = view
                self.bytes += view.bytes


def _windows(height: int, width: int, side: int) -> int:
    return (height - side + 1) * (width - side + 1)


def _placed(content: Tensor, at: PixelBox, box: PixelBox, fill: float) -> Tensor:
    """Return `box` of an image that shows `content` in the box `at` and `fill` elsewhere."""
    if at == box:
        return content
    canvas = content.new_full((box.height, box.width, *content.shape[2:]), fill)
    shared = at.intersection(box)
    if shared.width and shared.height:
        source = content[shared.moved(at.left, at.top).slices]
        canvas[shared.moved(box.left, box.top).slices] = source
    return canvas
