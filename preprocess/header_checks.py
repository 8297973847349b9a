"""Check one scene's files by size, header and end; nothing is decoded.

Every launch does this, for all its scenes, before anything is queued.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from preprocess.faults import Fault
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    Space,
    camera_file,
    check_depth_header,
    image_file,
    load_body_parameters,
    load_camera,
    picture_size,
)

Found = TypeVar("Found")
Given = ParamSpec("Given")
Size = tuple[int, int]
TURN_TOLERANCE = 1e-2
"""Of a rotation matrix times its transpose from the identity."""
MAKE_AGAIN = "copy or make the file again, or name its frame in skip_frames.csv"
REPAIRABLE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR)
"""What a user can repair; of other errors the disk is the cause."""


def check_headers(
    folder: SceneFolder, camera: int, frames: Sequence[int], space: Space
) -> list[Fault]:
    """Return what is wrong with a camera's files and the body parameters of these frames.

    Of arrays, one file of each size is read whole: arrays of the same shapes have files of the
    same size. Raises SceneDataError when the disk fails.
    """
    faults, people = check_bodies(folder, frames, space)
    return faults + check_camera_headers(folder, camera, frames, people)


def check_bodies(
    folder: SceneFolder, frames: Sequence[int], space: Space
) -> tuple[list[Fault], int]:
    """Return what is wrong with the body parameters of these frames, and the number of people.

    Raises SceneDataError when the disk fails.
    """
    faults: list[Fault] = []
    body_file = folder.smplx if space == "smplx" else folder.smpl
    bodies = {
        frame: collect(faults, load_body_parameters, folder, frame, space)
        for frame in one_of_each_size(frames, body_file)
    }
    faults += people_faults(folder, bodies, space)
    people = max((len(each["betas"]) for each in bodies.values() if each), default=0)
    return faults, people


def check_masked_images(folder: SceneFolder, camera: int, frames: Sequence[int]) -> list[Fault]:
    """Return what is wrong with a camera's images, their masks of everyone, and its parameters.

    Images of different sizes are none of it. Raises SceneDataError when the disk fails.
    """
    faults: list[Fault] = []
    for frame in frames:
        collect(faults, sizes_of, folder, camera, frame, 0)
    read_cameras(
        faults, folder, camera, one_of_each_size(frames, partial(camera_file, folder, camera))
    )
    return list(dict.fromkeys(faults))


def check_camera_headers(
    folder: SceneFolder, camera: int, frames: Sequence[int], people: int
) -> list[Fault]:
    """Return what is wrong with a camera's images, masks, depth and parameters."""
    faults: list[Fault] = []
    sizes = {frame: collect(faults, sizes_of, folder, camera, frame, people) for frame in frames}
    faults += size_faults(folder, camera, sizes)
    chosen = one_of_each_size(frames, partial(camera_file, folder, camera))
    cameras = read_cameras(faults, folder, camera, chosen)
    faults += camera_faults(folder, camera, cameras, sizes)
    faults += depth_header_faults(folder, camera, sizes)
    return list(dict.fromkeys(faults))


def depth_header_faults(
    folder: SceneFolder, camera: int, sizes: dict[int, Size | None]
) -> list[Fault]:
    """Return what the headers of depth say, where there is depth, and what its files' sizes say."""
    faults: list[Fault] = []
    with_depth = [frame for frame in sizes if folder.depth(camera, frame).exists()]
    for frame in one_of_each_size(with_depth, partial(folder.depth, camera)):
        collect(faults, check_depth_header, folder, camera, frame, sizes[frame])
    return faults


def one_of_each_size(frames: Iterable[int], path_of: Callable[[int], Path]) -> Iterator[int]:
    """Yield the first frame whose file has a size of its own, and all that have no file."""
    seen = set[int]()
    for frame in frames:
        try:
            size = path_of(frame).stat().st_size
        except OSError:
            yield frame
            continue
        if size not in seen:
            seen.add(size)
            yield frame


def sizes_of(folder: SceneFolder, camera: int, frame: int, people: int) -> Size:
    """Return the image's width and height; raises SceneDataError where a mask has others."""
    size = picture_size(image_file(folder, camera, frame))
    for person in (*range(people), EVERYONE):
        mask = folder.mask(camera, person, frame)
        other = picture_size(mask)
        if other != size:
            raise SceneDataError(
                f"{mask} is {other[0]}x{other[1]}, its image {size[0]}x{size[1]}; "
                "make masks in the images' size"
            )
    return size


def size_faults(folder: SceneFolder, camera: int, sizes: dict[int, Size | None]) -> list[Fault]:
    """Return a fault where a camera's images have different sizes."""
    tally = Counter(size for size in sizes.values() if size).most_common()
    if len(tally) <= 1:
        return []
    usual = tally[0][0]
    odd = next(frame for frame, size in sizes.items() if size and size != usual)
    value = ", ".join(f"{width}x{height} in {n} frames" for (width, height), n in tally)
    what = f"{folder.image(camera, 0).parent}: images have different sizes"
    remedy = f"scale all of a camera's to one size ({image_file(folder, camera, odd)} is another)"
    return [Fault(what, value, remedy)]


def people_faults(
    folder: SceneFolder, parameters: Mapping[int, Mapping[str, Sized] | None], space: Space
) -> list[Fault]:
    """Return a fault where frames have body parameters of different numbers of people."""
    first: dict[int, int] = {}
    for frame, each in parameters.items():
        if each:
            first.setdefault(len(each["betas"]), frame)
    if len(first) <= 1:
        return []
    value = ", ".join(f"{count} in frame {frame}" for count, frame in first.items())
    where = (folder.smplx(0) if space == "smplx" else folder.smpl(0)).parent
    remedy = "give every frame everyone's parameters, or name the others in skip_frames.csv"
    return [Fault(f"{where}: the number of people differs between frames", value, remedy)]


def read_cameras(
    faults: list[Fault], folder: SceneFolder, camera: int, frames: Iterable[int]
) -> dict[int, CameraData | None]:
    """Read a camera at these frames, a file of all frames once; None where it can't be used."""
    files: dict[Path, CameraData | None] = {}
    cameras: dict[int, CameraData | None] = {}
    for frame in frames:
        path = camera_file(folder, camera, frame)
        if path not in files:
            files[path] = collect(faults, load_camera, folder, camera, frame)
        cameras[frame] = files[path]
    return cameras


def camera_faults(
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


def fault_of(error: SceneDataError) -> Fault:
    """Return an error about a file as a fault; raises it again when the disk itself fails."""
    number = getattr(error.__cause__, "errno", None)
    if number is not None and number not in REPAIRABLE:
        raise error
    remedy = "" if "skip_frames.csv" in str(error) else MAKE_AGAIN
    return Fault(str(error), remedy=remedy)


def collect(
    faults: list[Fault], read: Callable[Given, Found], *args: Given.args, **named: Given.kwargs
) -> Found | None:
    """Return what `read` returns; None where it raises SceneDataError, which is added to faults."""
    try:
        return read(*args, **named)
    except SceneDataError as error:
        faults.append(fault_of(error))
        return None


def check_true_views(
    truth: SceneFolder, views: Mapping[int, Sequence[int]], people: int
) -> list[Fault]:
    """Return what is wrong with the true views, frames by camera."""
    found = (check_camera_headers(truth, camera, views[camera], people) for camera in views)
    return list(dict.fromkeys(fault for faults in found for fault in faults))


def check_true_bodies(
    truth: SceneFolder, frames: Sequence[int], spaces: Iterable[Space]
) -> list[Fault]:
    """Return what is wrong with the true bodies of these frames; spaces without a folder pass."""
    faults: list[Fault] = []
    files: dict[Space, Callable[[int], Path]] = {"smplx": truth.smplx, "smpl": truth.smpl}
    for space in spaces:
        if files[space](0).parent.is_dir():
            for frame in one_of_each_size(frames, files[space]):
                collect(faults, load_body_parameters, truth, frame, space)
    return faults
