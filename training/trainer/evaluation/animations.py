"""Show a trained scene moving: a turntable, and a fly-along in which the people move too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.cameras.strategies import framed, people_bounds, static_orbit, swing
from training.trainer.config.schema import RuntimeCamera
from training.trainer.evaluation.evaluate import Progress
from training.trainer.evaluation.pictures import to_pil_image
from training.trainer.evaluation.webp import write_animation
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.render import render
from training.trainer.output_files import OutputFolder

SIDE = 256
"""Longer side of a frame, pixels: a page shows several, and full size takes a second each."""
TURNTABLE, FLY_ALONG = "turntable", "fly_along"
Shot = tuple[Camera, int]
"""A camera and the frame index that it looks at."""


def write_animations(
    output: OutputFolder,
    epoch: int,
    model: SceneModel,
    source: Camera,
    *,
    settings: RuntimeCamera,
    frames: int,
    background: float,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Write both animations, of `frames` frames each; return their paths below the output folder.

    Cameras are those of `settings`, with the field of view of `source`. `progress` is called
    after each frame, and what it raises ends the writing. Raises OSError.
    """
    camera, joints = source.to("cpu"), _joints(model)
    shots = {
        TURNTABLE: turntable(joints, camera, settings, frames),
        FLY_ALONG: fly_along(joints, camera, settings, frames),
    }
    paths = {name: output.evaluation(name, epoch, "webp") for name in shots}
    for done, (name, chosen) in enumerate(shots.items()):
        on_frame = partial(_report, progress, done * frames, len(shots) * frames)
        write_animation(paths[name], _pictures(model, chosen, background, on_frame))
    return {name: str(path.relative_to(output.root)) for name, path in paths.items()}


def turntable(joints: Tensor, source: Camera, settings: RuntimeCamera, count: int) -> list[Shot]:
    """Return a full circle of cameras around the people, who stand still: in the middle frame.

    `joints` (F, P, 22, 3) are those of all frames.
    """
    middle = len(joints) // 2
    people = people_bounds(joints[middle : middle + 1], settings)
    cameras = static_orbit(people, source, settings, count)
    return _framed([(camera, middle) for camera in cameras], joints, settings)


def fly_along(joints: Tensor, source: Camera, settings: RuntimeCamera, count: int) -> list[Shot]:
    """Return cameras that swing to both sides of the source camera, while the people move.

    The motion goes to its end and back, so that the animation repeats without a jump. `joints`
    (F, P, 22, 3) are those of all frames.
    """
    shown = _there_and_back(len(joints), count)
    people = people_bounds(joints[shown], settings)
    shots = zip(swing(people, source, settings, count), shown, strict=True)
    return _framed(list(shots), joints, settings)


def _framed(shots: Sequence[Shot], joints: Tensor, settings: RuntimeCamera) -> list[Shot]:
    looked_at = [(camera, joints[index].flatten(0, -2)) for camera, index in shots]
    cameras = framed(looked_at, settings.body_radius_m, SIDE)
    return [(camera, index) for camera, (_, index) in zip(cameras, shots, strict=True)]


def _there_and_back(frames: int, count: int) -> list[int]:
    """Return `count` frame indices, evenly from the first to the last and back."""
    shares = (1 - abs(1 - 2 * at / count) for at in range(count))
    return [round(share * (frames - 1)) for share in shares]


@torch.no_grad()
def _joints(model: SceneModel) -> Tensor:
    frames = torch.arange(len(model.poses.first_pose), device=model.poses.betas.device)
    return model.joints(frames).cpu()


@torch.no_grad()
def _pictures(
    model: SceneModel, shots: Sequence[Shot], background: float, on_frame: Progress
) -> Iterator[Image.Image]:
    device, posed = model.poses.betas.device, {}
    for done, (camera, index) in enumerate(shots, 1):
        if index not in posed:
            posed = {index: model.gaussians_at(index)}  # the last one alone: they take memory
        yield to_pil_image(render(posed[index], camera.to(device), background).image)
        on_frame(done, len(shots))


def _report(progress: Progress | None, before: int, of: int, done: int, _: int) -> None:
    if progress:
        progress(before + done, of)
