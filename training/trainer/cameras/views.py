"""Read the views of a scene folder: what the source, a true or a novel camera sees at a frame."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import torch

from preprocess.layout import EVERYONE, SceneFolder
from preprocess.run_ahead import run_ahead
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    load_camera,
    load_depth,
    load_image,
    load_mask,
)
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.view import StoredView, View, ViewCache, store_view

__all__ = ["View", "ViewReader", "camera_of", "load_ahead"]

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class ViewReader:
    """Reads the views of one scene folder; `cache` keeps some of them in memory."""

    folder: SceneFolder
    frames: Sequence[int]
    people: int
    background: float
    device: torch.device
    threads: int = 0
    cache: ViewCache = field(default_factory=lambda: ViewCache(0))

    def for_folder(self, folder: SceneFolder, cache: ViewCache | None = None) -> ViewReader:
        """Return a reader of the same frames and people in another folder, with the same cache."""
        return replace(self, folder=folder, cache=cache or self.cache)

    def view(self, camera_id: int, index: int) -> View:
        """Return the view of a camera at a frame index; raises SceneDataError."""
        return self.stored(camera_id, index).view(self.background, self.device)

    def views(self, wanted: Iterable[tuple[int, int]]) -> Iterator[View]:
        """Yield the views of these cameras and frame indices, read ahead; raises SceneDataError."""
        tasks = (partial(self.stored, camera, index) for camera, index in wanted)
        for stored in load_ahead(tasks, self.threads):
            yield stored.view(self.background, self.device)

    def stored(self, camera_id: int, index: int) -> StoredView:
        """Return the view of a camera at a frame index as it is kept; raises SceneDataError."""
        key = (self.folder.root, camera_id, index)
        found = self.cache.get(key)
        if found is None:
            found = self._read(camera_id, index)
            self.cache.keep(key, found)
        return found

    def _read(self, camera_id: int, index: int) -> StoredView:
        frame = self.frames[index]
        at = (self.folder, camera_id, frame)
        image = load_image(*at)
        height, width = image.shape[:2]
        people = (EVERYONE, *range(self.people))
        masks = {person: load_mask(self.folder, camera_id, person, frame) for person in people}
        depth = load_depth(*at) if self.folder.depth(camera_id, frame).exists() else None
        planes = {**{f"mask {person}": mask for person, mask in masks.items()}, "depth": depth}
        for name, plane in planes.items():
            if plane is not None and plane.shape != (height, width):
                what = f"the {name} of frame {frame} is {plane.shape}, its image {image.shape[:2]}"
                raise SceneDataError(f"{self.folder.root}: camera {camera_id}: {what}")
        camera = camera_of(load_camera(*at), width, height)
        return store_view((camera_id, frame, index), camera, image, list(masks.values()), depth)


def load_ahead(
    tasks: Iterable[Callable[[], Loaded]], threads: int
) -> Generator[Loaded, None, None]:
    """Yield the tasks' results in order, loaded before they are needed by so many threads."""
    if not threads:
        yield from (task() for task in tasks)
        return
    with ThreadPoolExecutor(threads, "views") as pool:
        yield from run_ahead(pool, tasks, 2 * threads)


def camera_of(data: CameraData, width: int, height: int) -> Camera:
    """Convert a camera of the scene data, whose images are `width` by `height` pixels."""
    viewmat = torch.eye(4)
    viewmat[:3] = torch.from_numpy(data.extrinsics)
    return Camera(viewmat, torch.from_numpy(data.intrinsics).float(), width, height)
