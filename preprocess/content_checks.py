"""Check what one scene's files contain, before training: all headers, and a few frames whole.

Cheap, since it delays every start: the sizes of pictures come from their headers, cameras and body
parameters are small, and images, masks and depth are decoded of a few frames only. The rest is
checked when it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from preprocess.faults import Fault
from preprocess.header_checks import (
    Size,
    camera_faults,
    collect,
    depth_header_faults,
    people_faults,
    read_cameras,
    size_faults,
    sizes_of,
)
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    Space,
    depth_size_error,
    load_body_parameters,
    load_depth,
    load_image,
    load_mask,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Item = TypeVar("Item")
SAMPLE_FRAMES = 8
DECODERS = 4
"""Frames that are decoded at once."""
FULL = 0.99
"""A mask that covers more of the image is no segmentation."""
LENS_TOLERANCE = 1.0
"""Pixels that a lens may move an image's corner."""
SKIP = "name the frame in skip_frames.csv, or make it again"


@dataclass(frozen=True)
class Shot:
    """One whole frame of the source camera.

    `masks` (P,H,W) of each person and `everyone` (H,W), booleans; `depth` (H,W) metres or None;
    `parameters` of everyone's body.
    """

    frame: int
    camera: CameraData
    masks: Array
    everyone: Array
    depth: Array | None
    parameters: dict[str, Array]


@dataclass(frozen=True)
class Contents:
    """What was found wrong, and the frames that were read whole without a fault."""

    faults: list[Fault]
    shots: list[Shot]


@dataclass(frozen=True)
class Arrays:
    """The small files of the source camera's frames, None where one can't be used.

    `sizes` are the images' widths and heights, `people` how many the body parameters are of.
    """

    faults: list[Fault]
    parameters: dict[int, dict[str, Array] | None]
    cameras: dict[int, CameraData | None]
    sizes: dict[int, Size | None]
    people: int


def check_arrays(folder: SceneFolder, camera: int, frames: Sequence[int], space: Space) -> Arrays:
    """Check all cameras and body parameters, and the headers of everything else.

    Raises SceneDataError when the disk fails.
    """
    faults: list[Fault] = []
    parameters = {
        frame: collect(faults, load_body_parameters, folder, frame, space) for frame in frames
    }
    cameras = read_cameras(faults, folder, camera, frames)
    people = max((len(each["betas"]) for each in parameters.values() if each), default=0)
    faults += people_faults(folder, parameters, space)
    sizes = {frame: collect(faults, sizes_of, folder, camera, frame, people) for frame in frames}
    faults += size_faults(folder, camera, sizes)
    faults += camera_faults(folder, camera, cameras, sizes)
    faults += depth_header_faults(folder, camera, sizes)
    return Arrays(faults, parameters, cameras, sizes, people)


def check_contents(
    folder: SceneFolder, camera: int, frames: Sequence[int], space: Space
) -> Contents:
    """Check the source camera's frames; raises OSError or SceneDataError when the disk fails."""
    arrays = check_arrays(folder, camera, frames, space)
    faults = [*arrays.faults]
    shots: list[Shot] = []
    for frame in evenly_spread(frames, SAMPLE_FRAMES):
        if arrays.sizes[frame] is None:
            continue
        shot = collect(faults, _read_shot, folder, camera, frame, arrays.people)
        seen, bodies = arrays.cameras[frame], arrays.parameters[frame]
        if shot and seen and bodies and len(bodies["betas"]) == arrays.people:
            shots.append(Shot(frame, seen, *shot, bodies))
    faults += _mask_faults(folder, camera, shots)
    faults += _unseen_people(folder, camera, shots, frames)
    return Contents(list(dict.fromkeys(faults)), shots)


def check_pixels(
    folder: SceneFolder, camera: int, frames: Sequence[int], people: int
) -> list[Fault]:
    """Decode every image, mask and depth of a camera, and return what is wrong with them."""
    with ThreadPoolExecutor(DECODERS, "pixels") as pool:
        found = pool.map(partial(_pixel_faults, folder, camera, people), frames)
        return [fault for faults in found for fault in faults]


def _pixel_faults(folder: SceneFolder, camera: int, people: int, frame: int) -> list[Fault]:
    faults: list[Fault] = []
    shot = collect(faults, _read_shot, folder, camera, frame, people)
    if shot:
        masks: dict[int | str, Array] = {EVERYONE: shot[1], **dict(enumerate(shot[0]))}
        faults += _full_mask_faults(folder, camera, frame, masks)
    return faults


def content_doubts(
    folder: SceneFolder, camera: int, frames: Sequence[int], *, with_depth: bool
) -> list[str]:
    """Return in one line each what may not be meant: missing depth, and a lens that distorts."""
    lines = []
    missing = [frame for frame in frames if not folder.depth(camera, frame).exists()]
    if with_depth and missing:
        where = folder.depth(camera, missing[0])
        lines.append(
            f"{where}: no depth of {len(missing)} of {len(frames)} frames; in these people's "
            "distance follows from silhouettes alone (train.optimization.loss.depth=0: everywhere)"
        )
    shift = _lens_shift(folder, camera, frames[0])
    if math.isnan(shift):
        lines.append(
            f"{folder.shared_cameras}: dist_coeffs can't be used: expected numbers, one row a "
            "camera; whether its lens distorts is not known"
        )
    if shift > LENS_TOLERANCE:
        lines.append(
            f"{folder.shared_cameras}: dist_coeffs of camera {camera} shift an image's corner by "
            f"{shift:.0f} pixels and are not applied: undistort the images first"
        )
    return lines


def _lens_shift(folder: SceneFolder, camera: int, frame: int) -> float:
    """Return how far `dist_coeffs` (k1 k2 p1 p2 k3, as in OpenCV) move an image's corner, pixels.

    0 where there are none, nan where they are no rows of numbers. Source: Brown 1971.
    """
    import numpy as np

    if folder.camera(camera, frame).parent.is_dir() or not folder.shared_cameras.is_file():
        return 0.0
    with np.load(folder.shared_cameras, allow_pickle=False) as file:
        if "dist_coeffs" not in file or camera not in (ids := file["ids"].reshape(-1).tolist()):
            return 0.0
        coefficients = file["dist_coeffs"]
        if coefficients.shape[:1] != (len(ids),) or coefficients.dtype.kind not in "fiu":
            return math.nan
        given = coefficients[ids.index(camera)].ravel()[:5]
        k1, k2, p1, p2, k3 = np.pad(given, (0, 5 - len(given)))
        matrix = file["intrinsics"][ids.index(camera)]
    x, y = matrix[:2, 2] / matrix[[0, 1], [0, 1]]  # the corner at pixel 0, mirrored: as far off
    square = x * x + y * y
    radial = k1 * square + k2 * square**2 + k3 * square**3
    shift_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
    shift_y = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
    return float(np.hypot(matrix[0, 0] * shift_x, matrix[1, 1] * shift_y))


def evenly_spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` of the items, evenly spread, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(at * (len(items) - 1) / (count - 1))] for at in range(count)]


def _read_shot(
    folder: SceneFolder, camera: int, frame: int, people: int
) -> tuple[Array, Array, Array | None]:
    """Read one frame whole; return the masks, everyone's mask and the depth."""
    import numpy as np

    load_image(folder, camera, frame)
    masks = [load_mask(folder, camera, person, frame) for person in range(people)]
    everyone = load_mask(folder, camera, EVERYONE, frame)
    path = folder.depth(camera, frame)
    depth = load_depth(folder, camera, frame) if path.exists() else None
    if depth is not None and depth.shape != everyone.shape:
        raise depth_size_error(path, depth.shape, everyone.shape)
    return np.stack(masks) if masks else everyone[None][:0], everyone, depth


def _mask_faults(folder: SceneFolder, camera: int, shots: Sequence[Shot]) -> list[Fault]:
    """Return faults of masks that cover everything, and of all being empty."""
    faults = []
    for shot in shots:
        masks: dict[int | str, Array] = {EVERYONE: shot.everyone, **dict(enumerate(shot.masks))}
        faults += _full_mask_faults(folder, camera, shot.frame, masks)
    if shots and not any(shot.everyone.any() for shot in shots):
        path = folder.mask(camera, EVERYONE, shots[0].frame)
        what = f"{path.parent}: all masks that were looked at are empty"
        faults.append(Fault(what, f"e.g. {path.name}", _empty_mask_remedy(path)))
    return faults


def _full_mask_faults(
    folder: SceneFolder, camera: int, frame: int, masks: Mapping[int | str, Array]
) -> list[Fault]:
    return [
        Fault(f"{folder.mask(camera, person, frame)}: the mask covers everything", remedy=SKIP)
        for person, mask in masks.items()
        if mask.mean() > FULL
    ]


def _empty_mask_remedy(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        _, highest = picture.convert("L").getextrema()
    if highest:
        return f"its highest value is {highest}: write 255 where people are"
    return "segment the images again: 255 where people are, 0 elsewhere"


def _unseen_people(
    folder: SceneFolder, camera: int, shots: Sequence[Shot], frames: Sequence[int]
) -> list[Fault]:
    """Return a fault for each person whom no mask of any frame shows.

    All masks of a person are read only where those looked at are empty.
    """
    if not any(shot.everyone.any() for shot in shots):
        return []
    unseen = [
        person
        for person in range(len(shots[0].masks))
        if not any(shot.masks[person].any() for shot in shots)
        and not any(_shows(folder, camera, person, frame) for frame in frames)
    ]
    remedy = "choose a camera that sees everyone with cam_id, or leave the person out of all files"
    return [
        Fault(
            f"person {person} is seen in no frame of the source camera",
            f"{folder.mask(camera, person, 0).parent}: {len(frames)} empty masks",
            remedy,
        )
        for person in unseen
    ]


def _shows(folder: SceneFolder, camera: int, person: int, frame: int) -> bool:
    try:
        return bool(load_mask(folder, camera, person, frame).any())
    except SceneDataError:
        return False
