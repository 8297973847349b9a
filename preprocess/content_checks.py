"""Check what one scene's files contain, before training: all headers, and a few frames whole.

Cheap, since it delays every start: the sizes of pictures come from their headers, cameras and body
parameters are small, and images, masks and depth are decoded of a few frames only. The rest is
checked when it is read.
"""

from __future__ import annotations

import errno
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from preprocess.faults import Fault
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    Space,
    image_file,
    load_body_parameters,
    load_camera,
    load_depth,
    load_image,
    load_mask,
    picture_size,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Found = TypeVar("Found")
Item = TypeVar("Item")
Given = ParamSpec("Given")
SAMPLE_FRAMES = 8
FULL = 0.99
"""A mask that covers more of the image is no segmentation."""
LENS_TOLERANCE = 1.0
"""Pixels that a lens may move an image's corner."""
TURN_TOLERANCE = 1e-2
"""Of a rotation matrix times its transpose from the identity."""
ABSENT = (errno.ENOENT, errno.ENOTDIR)
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


def check_contents(
    folder: SceneFolder, camera: int, frames: Sequence[int], space: Space
) -> Contents:
    """Check the source camera's frames; raises OSError or SceneDataError when the disk fails."""
    faults: list[Fault] = []
    parameters = {
        frame: _collect(faults, load_body_parameters, folder, frame, space) for frame in frames
    }
    cameras = {frame: _collect(faults, load_camera, folder, camera, frame) for frame in frames}
    people = max((len(each["betas"]) for each in parameters.values() if each), default=0)
    faults += _people_faults(folder, parameters, space)
    sizes = {frame: _collect(faults, _sizes, folder, camera, frame, people) for frame in frames}
    faults += _size_faults(folder, camera, sizes)
    faults += _camera_faults(folder, camera, cameras, sizes)
    shots: list[Shot] = []
    for frame in evenly_spread(frames, SAMPLE_FRAMES):
        if sizes[frame] is None:
            continue
        shot = _collect(faults, _read_shot, folder, camera, frame, people)
        seen, bodies = cameras[frame], parameters[frame]
        if shot and seen and bodies and len(bodies["betas"]) == people:
            shots.append(Shot(frame, seen, *shot, bodies))
    faults += _mask_faults(folder, camera, shots)
    faults += _unseen_people(folder, camera, shots, frames)
    return Contents(list(dict.fromkeys(faults)), shots)


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


def fault_of(error: SceneDataError) -> Fault:
    """Return an error about a file as a fault; raises it again when the disk itself fails."""
    number = getattr(error.__cause__, "errno", None)
    if number is not None and number not in ABSENT:
        raise error
    return Fault(str(error))


def _collect(
    faults: list[Fault], read: Callable[Given, Found], *args: Given.args, **named: Given.kwargs
) -> Found | None:
    try:
        return read(*args, **named)
    except SceneDataError as error:
        faults.append(fault_of(error))
        return None


def _people_faults(
    folder: SceneFolder, parameters: dict[int, dict[str, Array] | None], space: Space
) -> list[Fault]:
    """Return a fault where frames have body parameters of different numbers of people."""
    counts = {frame: len(each["betas"]) for frame, each in parameters.items() if each}
    if len(set(counts.values())) <= 1:
        return []
    value = ", ".join(f"{count} in {n} frames" for count, n in _tally(counts.values()))
    where = (folder.smplx(0) if space == "smplx" else folder.smpl(0)).parent
    remedy = "give every frame everyone's parameters, or name the others in skip_frames.csv"
    return [Fault(f"{where}: the number of people differs between frames", value, remedy)]


def _sizes(folder: SceneFolder, camera: int, frame: int, people: int) -> tuple[int, int]:
    """Return the image's width and height; raises SceneDataError where a mask has others."""
    image = image_file(folder, camera, frame)
    size = picture_size(image)
    for person in (*range(people), EVERYONE):
        mask = folder.mask(camera, person, frame)
        other = picture_size(mask)
        if other != size:
            raise SceneDataError(
                f"{mask} is {other[0]}x{other[1]}, its image {size[0]}x{size[1]}; "
                "make masks in the images' size"
            )
    return size


def _size_faults(
    folder: SceneFolder, camera: int, sizes: dict[int, tuple[int, int] | None]
) -> list[Fault]:
    tally = _tally(size for size in sizes.values() if size)
    if len(tally) <= 1:
        return []
    usual = tally[0][0]
    odd = next(frame for frame, size in sizes.items() if size and size != usual)
    value = ", ".join(f"{width}x{height} in {n} frames" for (width, height), n in tally)
    what = f"{folder.image(camera, 0).parent}: images have different sizes"
    remedy = f"scale all of a camera's to one size ({image_file(folder, camera, odd)} is another)"
    return [Fault(what, value, remedy)]


def _camera_faults(
    folder: SceneFolder,
    camera: int,
    cameras: dict[int, CameraData | None],
    sizes: dict[int, tuple[int, int] | None],
) -> list[Fault]:
    """Return faults of cameras that can't be pinhole cameras of their images."""
    faults = []
    for frame, data in cameras.items():
        size = sizes[frame]
        what = _camera_fault(data, size) if data and size else None
        if what:
            path = camera_file(folder, camera, frame)
            faults.append(Fault(f"{path}: {what[0]}", what[1], what[2]))
    return faults


def camera_file(folder: SceneFolder, camera: int, frame: int) -> Path:
    """Return the file that a camera is read from."""
    path = folder.camera(camera, frame)
    return path if path.parent.is_dir() else folder.shared_cameras


def _camera_fault(data: CameraData, size: tuple[int, int]) -> tuple[str, str, str] | None:
    """Return what is wrong with a camera of images of `size`, the value and the remedy."""
    import numpy as np

    turn, (focal_x, focal_y) = data.extrinsics[:, :3], data.intrinsics[[0, 1], [0, 1]]
    if abs(turn @ turn.T - np.eye(3)).max() > TURN_TOLERANCE or np.linalg.det(turn) < 0:
        value = f"rotation times its transpose is {np.round(turn @ turn.T, 3).tolist()}"
        return "extrinsics have no rotation", value, "write [R|t], world-to-camera, OpenCV axes"
    center = data.intrinsics[:2, 2]
    if focal_x <= 0 or focal_y <= 0:
        return "intrinsics have a focal length of", f"{focal_x:g}, {focal_y:g}", "write pixels"
    if not ((center > 0) & (center < np.array(size))).all():
        value = f"({center[0]:g}, {center[1]:g}) of {size[0]}x{size[1]} pixels"
        remedy = "scale intrinsics together with the images"
        return (
            "intrinsics are of another image size: the principal point lies outside",
            value,
            remedy,
        )
    return None


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
        raise SceneDataError(
            f"{path}: depth is {depth.shape}, its image {everyone.shape}; "
            "make depth in the images' size"
        )
    return np.stack(masks) if masks else everyone[None][:0], everyone, depth


def _mask_faults(folder: SceneFolder, camera: int, shots: Sequence[Shot]) -> list[Fault]:
    """Return faults of masks that cover everything, and of all being empty."""
    faults = []
    for shot in shots:
        people = (*range(len(shot.masks)), EVERYONE)
        for person, mask in zip(people, (*shot.masks, shot.everyone), strict=True):
            if mask.mean() > FULL:
                path = folder.mask(camera, person, shot.frame)
                faults.append(Fault(f"{path}: the mask covers everything", remedy=SKIP))
    if shots and not any(shot.everyone.any() for shot in shots):
        path = folder.mask(camera, EVERYONE, shots[0].frame)
        what = f"{path.parent}: all masks that were looked at are empty"
        faults.append(Fault(what, f"e.g. {path.name}", _empty_mask_remedy(path)))
    return faults


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


def _tally(values: Iterable[Any]) -> list[tuple[Any, int]]:
    """Return each value with how often it comes, the most frequent first."""
    return Counter(values).most_common()
