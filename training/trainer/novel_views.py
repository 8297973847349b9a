"""Novel views: images, depth and masks of further cameras, made once and kept as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from preprocess.layout import EVERYONE, SceneFolder
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.strategies import STRATEGIES, people_bounds, sides_outwards
from training.trainer.cameras.views import View, ViewReader
from training.trainer.config.schema import TrainingViews
from training.trainer.evaluation.pictures import to_pil_image
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.render import COVERED, Rendered, render
from training.trainer.refiner.refiner import Refiner
from training.trainer.refiner.silhouettes import person_masks
from training.trainer.termination import TrainingError

MIN_FACING = 0.1  # of it shows a surface that faces the camera, for the depth to be known


@dataclass
class NovelViews:
    """The novel views of a run; `reader` reads them once they are made.

    `source` reads the source camera's views, `truth` those that can be captured from.
    """

    ids: tuple[int, ...]
    settings: TrainingViews
    folder: Path
    source: ViewReader
    source_id: int
    truth: ViewReader | None
    refiner: Refiner | None
    is_reference_always_source: bool = True
    reader: ViewReader | None = field(default=None, init=False)

    @property
    def captured(self) -> bool:
        """Whether true images of other cameras are trained on now."""
        return self.reader is not None and self.settings.source == "captured"

    def make_or_load(
        self, model: SceneModel, *, made: bool, progress: Callable[[], None] = lambda: None
    ) -> None:
        """Make the views, or find those that an earlier attempt `made`, and open `reader` on them.

        They are read back from files in both cases, so that a resumed run trains on the same bytes.
        `progress` is called after each view that is made, and what it raises ends the making.

        Raises TrainingError when files that were made are gone, OSError.
        """
        if self.reader is not None or not self.ids:
            return
        if not made:
            self._make(model, progress)
        elif not self.folder.is_dir():
            raise TrainingError(
                f"{self.folder}: the novel views that the checkpoint was trained with are gone; "
                "delete the checkpoint to start anew"
            )
        self.reader = self.source.for_folder(SceneFolder(self.folder))

    @torch.no_grad()
    def _make(self, model: SceneModel, progress: Callable[[], None]) -> None:
        partial = self.folder.with_name(f".{self.folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for view in self._views(model):
            write_view(SceneFolder(partial), view)
            progress()
        shutil.rmtree(self.folder, ignore_errors=True)
        partial.rename(self.folder)

    def _views(self, model: SceneModel) -> Iterator[View]:
        frames = range(len(self.source.frames))
        if self.settings.source == "captured":
            # Without a truth no captured camera was chosen (camera_ids).
            reader = self.truth or self.source
            yield from reader.views((camera, index) for camera in self.ids for index in frames)
            return
        first = self.source.view(self.source_id, 0).camera.to("cpu")
        settings = self.settings.runtime_camera
        all_frames = torch.arange(len(frames), device=self.source.device)
        people = people_bounds(model.joints(all_frames), settings)
        cameras = STRATEGIES[settings.strategy](people, first, settings, len(self.ids))
        sides = sides_outwards(people, first, cameras)
        for index in frames:
            source = self.source.view(self.source_id, index).image
            for side in sides:
                reference = source
                for at in side:
                    view = self._rendered(model, (self.ids[at], index), cameras[at], reference)
                    reference = source if self.is_reference_always_source else view.image
                    yield view

    def _rendered(
        self, model: SceneModel, at: tuple[int, int], camera: Camera, reference: Tensor
    ) -> View:
        """Render what a camera sees, `at` its id and a frame index, and refine it."""
        camera_id, index = at
        camera = camera.to(self.source.device)
        rendered = render(model.gaussians_at(index), camera, self.source.background)
        image = rendered.image.clamp(0, 1)
        masks = (rendered.person_alpha > COVERED).float()
        if self.refiner is not None:
            image = self.refiner.refine(image, reference)
            masks = person_masks(image, rendered.person_alpha, self.source.background)
        depth = torch.where(masks.amax(-1) > 0, _covered_depth(rendered), 0.0)
        return View(camera_id, self.source.frames[index], index, camera, image, masks, depth)


def write_view(folder: SceneFolder, view: View) -> None:
    """Write one view in the layout of scene data, images lossless; raises OSError."""
    camera_id, frame = view.camera_id, view.frame
    _save_image(folder.image(camera_id, frame).with_suffix(".png"), view.image)
    for person in range(view.masks.shape[-1]):
        _save_image(folder.mask(camera_id, person, frame), view.masks[..., person])
    _save_image(folder.mask(camera_id, EVERYONE, frame), view.masks.amax(-1))
    if view.depth is not None:
        _make_parent(folder.depth(camera_id, frame))
        np.save(folder.depth(camera_id, frame), view.depth.cpu().numpy().astype(np.float32))
    _make_parent(folder.camera(camera_id, frame))
    np.savez(
        folder.camera(camera_id, frame),
        intrinsics=view.camera.intrinsics.cpu().numpy()[None],
        extrinsics=view.camera.viewmat[:3].cpu().numpy()[None],
    )


def _covered_depth(rendered: Rendered) -> Tensor:
    return torch.where(
        (rendered.alpha > COVERED) & (rendered.facing > MIN_FACING),
        rendered.depth / rendered.facing.clamp(min=MIN_FACING),
        0.0,
    )


def _save_image(path: Path, image: Tensor) -> None:
    _make_parent(path)
    # The fastest level: zlib's default takes seconds at full size, for a sixth fewer bytes.
    to_pil_image(image).save(path, compress_level=1)


def _make_parent(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
