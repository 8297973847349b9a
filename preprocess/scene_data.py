"""Read one scene's data.

Shape, type and range are checked here, so that readers get sound arrays or one clear
SceneDataError. numpy and Pillow are imported where a file is read: the launcher needs only the
paths and starts without them.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preprocess.layout import SceneFolder
from preprocess.roots import expanded
from preprocess.scene import Gender, Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Space = Literal["smplx", "smpl"]
PARAMETER_SHAPES: dict[Space, dict[str, tuple[int, ...]]] = {
    "smplx": {
        "betas": (10,),
        "root_pose": (3,),
        "body_pose": (21, 3),
        "jaw_pose": (3,),
        "leye_pose": (3,),
        "reye_pose": (3,),
        "lhand_pose": (15, 3),
        "rhand_pose": (15, 3),
        "trans": (3,),
        "expression": (100,),
    },
    "smpl": {"betas": (10,), "global_orient": (3,), "body_pose": (23, 3), "transl": (3,)},
}
"""Shapes per person; in the files there is an axis of P people in front."""

PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"
PNG_END = b"IEND"
JPEG_START, JPEG_END, JPEG_MARKER = b"\xff\xd8", b"\xff\xd9", 0xFF
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
HEAD_BYTES = 2048
GENDERS: tuple[Gender, ...] = ("neutral", "female", "male")
HALF = 127
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError)
"""What numpy raises for a file that is no whole .npz."""


class SceneDataError(Exception):
    """A file of a scene's data can't be used; the message has the path and what was expected."""


@dataclass(frozen=True)
class CameraData:
    """`intrinsics` (3,3) in pixels, `extrinsics` (3,4) world-to-camera, OpenCV axes, metres."""

    intrinsics: Array
    extrinsics: Array

    @property
    def center(self) -> Array:
        """Where the camera is in the world, (3,) metres."""
        return -self.extrinsics[:, :3].T @ self.extrinsics[:, 3]


def training_folder(scene: Scene, scene_data_root: Path) -> SceneFolder:
    """Return the folder with the estimates that a scene is trained from."""
    return SceneFolder(scene_data_root / scene.seq_name)


def truth_folder(scene: Scene, scene_data_root: Path) -> SceneFolder | None:
    """Return the folder with the truth for held-out cameras, or None when the scene names none.

    A relative `raw_gt_dir_path` starts at the scene data root.
    """
    if scene.raw_gt_dir_path is None:
        return None
    return SceneFolder(scene_data_root / expanded(scene.raw_gt_dir_path))


def body_space(folder: SceneFolder) -> Space:
    """Return the space of the body parameters that a folder has: SMPL's where that is all."""
    has_smplx, has_smpl = folder.smplx(0).parent.is_dir(), folder.smpl(0).parent.is_dir()
    return "smpl" if has_smpl and not has_smplx else "smplx"


def load_image(folder: SceneFolder, camera: int, frame: int) -> Array:
    """Read an image: (H,W,3) 8-bit RGB. Raises SceneDataError."""
    return _read_image(image_file(folder, camera, frame), "RGB")


def image_file(folder: SceneFolder, camera: int, frame: int) -> Path:
    """Return the image's file: the JPEG, or the PNG when only that exists."""
    path = folder.image(camera, frame)
    other = path.with_suffix(".png")
    return other if other.is_file() and not path.exists() else path


def picture_size(path: Path) -> tuple[int, int]:
    """Return a picture's width and height by its header.

    One whose end is not that of its kind is decoded, to tell a cut file from one with more behind
    its end. Raises SceneDataError.
    """
    from PIL import Image

    head, end = _head_and_end(path)
    size = _png_size(head, end) or _jpeg_size(head, end)
    if size:
        return size
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SceneDataError(f"{path} is not a whole picture: {error}") from error


def _png_size(head: bytes, end: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG with these ends; None for what else it may be."""
    if not head.startswith(PNG_HEAD) or PNG_END not in end:
        return None
    width, height = struct.unpack_from(">II", head, len(PNG_HEAD))
    return width, height


def _jpeg_size(head: bytes, end: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG with these ends; None for what else it may be.

    They stand in the first segment that starts a frame. Pillow says the same in 20 times the time,
    which a check of 100 scenes would notice.
    """
    if not head.startswith(JPEG_START) or JPEG_END not in end:
        return None
    at = len(JPEG_START)
    while at + 9 <= len(head) and head[at] == JPEG_MARKER:
        if head[at + 1] in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _head_and_end(path: Path) -> tuple[bytes, bytes]:
    """Return a picture file's first bytes, in which its size stands, and its last 16."""
    expected = "a picture"
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            head = os.pread(file, HEAD_BYTES, 0)
            end = os.pread(file, 16, max(0, size - 16))
        finally:
            os.close(file)
    except OSError as error:
        raise SceneDataError(f"{path}: {error.strerror}; expected {expected}") from error
    if not size:
        raise _empty_file(path, expected)
    return head, end


def load_mask(folder: SceneFolder, camera: int, person: int | str, frame: int) -> Array:
    """Read a mask: (H,W) booleans, true where `person`, or `EVERYONE`, is seen.

    Raises SceneDataError.
    """
    return _read_image(folder.mask(camera, person, frame), "L") > HALF


def load_depth(folder: SceneFolder, camera: int, frame: int) -> Array:
    """Read depth: (H,W) float32 along the camera's z axis, metres; 0 where unknown.

    Raises SceneDataError.
    """
    path = folder.depth(camera, frame)
    depth = _read_depth(path)
    _check_finite(path, "depth", depth, "write 0 where it is unknown")
    return depth.astype("float32")


def check_depth_header(
    folder: SceneFolder, camera: int, frame: int, size: tuple[int, int] | None
) -> None:
    """Check depth by its header and its file's length alone; `size` is the image's, if known.

    Raises SceneDataError.
    """
    path = folder.depth(camera, frame)
    shape = _read_depth(path, mapped=True).shape
    if size and shape != size[::-1]:
        raise depth_size_error(path, shape, size[::-1])


def depth_size_error(path: Path, shape: tuple[int, ...], image: tuple[int, ...]) -> SceneDataError:
    """Return the error of depth (H,W) that has not its image's."""
    what = f"{path}: depth is {shape}, its image {image}"
    return SceneDataError(f"{what}; make depth in the images' size")


def load_camera(folder: SceneFolder, camera: int, frame: int) -> CameraData:
    """Read the pinhole camera of one frame. Raises SceneDataError."""
    path = camera_file(folder, camera, frame)
    if path == folder.shared_cameras and path.is_file():
        return _load_shared_camera(path, camera)
    path = folder.camera(camera, frame)
    arrays = _read_npz(path, ("intrinsics", "extrinsics"))
    for name, expected in (("intrinsics", (1, 3, 3)), ("extrinsics", (1, 3, 4))):
        _check(path, name, arrays[name], expected)
    return CameraData(arrays["intrinsics"][0], arrays["extrinsics"][0])


def camera_file(folder: SceneFolder, camera: int, frame: int) -> Path:
    """Return the file that a camera is read from."""
    path = folder.camera(camera, frame)
    return path if path.parent.is_dir() else folder.shared_cameras


def _load_shared_camera(path: Path, camera: int) -> CameraData:
    """Read a camera of a file that has all, in the public layout of Hi4D."""
    arrays = _read_npz(path, ("ids", "intrinsics", "extrinsics"))
    _check(path, "ids", arrays["ids"], arrays["ids"].shape)
    ids = arrays["ids"].reshape(-1).tolist()
    for name, expected in (("intrinsics", (len(ids), 3, 3)), ("extrinsics", (len(ids), 3, 4))):
        _check(path, name, arrays[name], expected)
    known = [int(number) for number in ids]
    if camera not in known:
        raise SceneDataError(f"{path} has no camera {camera}; it has {', '.join(map(str, known))}")
    at = known.index(camera)
    return CameraData(arrays["intrinsics"][at], arrays["extrinsics"][at])


def load_body_parameters(
    folder: SceneFolder, frame: int, space: Space = "smplx"
) -> dict[str, Array]:
    """Read everyone's body parameters: (P, …) as in PARAMETER_SHAPES, float32.

    Joints' rotations may be one row a person, as in Hi4D. Raises SceneDataError.
    """
    path = folder.smplx(frame) if space == "smplx" else folder.smpl(frame)
    shapes = PARAMETER_SHAPES[space]
    arrays = _read_npz(path, tuple(shapes))
    people = len(arrays["betas"]) if arrays["betas"].ndim else 0
    if not people:
        raise SceneDataError(f"{path}: betas has nobody; expected one row a person")
    for name, shape in shapes.items():
        if arrays[name].shape == (people, math.prod(shape)):
            arrays[name] = arrays[name].reshape(people, *shape)
        _check(path, name, arrays[name], (people, *shape))
    return {name: array.astype("float32") for name, array in arrays.items()}


def load_known_joints(folder: SceneFolder, frame: int) -> Array | None:
    """Return the joints (P,24,3) that Hi4D keeps beside SMPL's parameters; None without any."""
    import numpy as np

    with np.load(folder.smpl(frame), allow_pickle=False) as file:
        return np.asarray(file["joints_3d"]) if "joints_3d" in file else None


def load_genders(folder: SceneFolder, scene: Scene, people: int) -> tuple[Gender, ...] | None:
    """Return each person's gender: from the scene's JSON, else from `meta.npz`, else None.

    Raises SceneDataError for another number of people, and for other words.
    """
    if scene.genders is not None:
        found, source = list(scene.genders), "genders in the scene's JSON"
    elif folder.meta.is_file():
        found, source = _genders_of_meta(folder.meta), f"{folder.meta}: genders"
    else:
        return None
    if found and len(found) != people:
        raise SceneDataError(f"{source}: {', '.join(found)}; expected {people}, one a person")
    wrong = [word for word in found if word not in GENDERS]
    if wrong:
        raise SceneDataError(f"{source}: {', '.join(wrong)}; valid: {', '.join(GENDERS)}")
    return tuple(found) or None


def _genders_of_meta(path: Path) -> list[Any]:
    """Return what `meta.npz` says of genders; nothing where it has no such key."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return [str(word).lower() for word in file["genders"]] if "genders" in file else []
    except UNREADABLE as error:
        remedy = 'write "genders": ["female", "male"] into the scene\'s JSON instead'
        raise SceneDataError(f"{path}: genders can't be read: {error}; {remedy}") from error


def _read_image(path: Path, mode: Literal["RGB", "L"]) -> Array:
    import numpy as np
    from PIL import Image

    _require_file(path, f"an 8-bit {'RGB image' if mode == 'RGB' else 'mask'}")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SceneDataError(f"{path} is not a whole picture: {error}") from error


def _read_depth(path: Path, *, mapped: bool = False) -> Array:
    """Read an array and check its shape and type; `mapped`: its content is not read."""
    import numpy as np

    _require_file(path, "a .npy array")
    try:
        depth: Array = np.load(path, "r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SceneDataError(f"{path} is not a whole .npy array: {error}") from error
    if len(depth.shape) != len(("H", "W")) or depth.dtype.kind != "f":
        expected = "expected (H,W) floating point, metres"
        raise SceneDataError(f"{path}: depth is {depth.dtype} {depth.shape}; {expected}")
    return depth


def _read_npz(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    import numpy as np

    expected = f"expected {', '.join(names)}"
    _require_file(path, f"an .npz file with {', '.join(names)}")
    try:
        with np.load(path, allow_pickle=False) as file:
            lacking = [name for name in names if name not in file]
            if lacking:
                what = f"{path} lacks {', '.join(lacking)}; it has {', '.join(file)}"
                raise SceneDataError(what)
            return {name: file[name] for name in names}
    except UNREADABLE as error:
        raise SceneDataError(f"{path} is not a whole .npz file: {error}; {expected}") from error


def _require_file(path: Path, expected: str) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SceneDataError(f"{path}: {error.strerror}; expected {expected}") from error
    if size == 0:
        raise _empty_file(path, expected)


def _empty_file(path: Path, expected: str) -> SceneDataError:
    remedy = "where a frame failed, name it in skip_frames.csv"
    return SceneDataError(f"{path} is empty; expected {expected} ({remedy})")


def _check(path: Path, name: str, array: Array, expected: tuple[int, ...]) -> None:
    if array.shape != expected or array.dtype.kind not in "fiu":
        what = f"{path}: {name} is {array.dtype} {array.shape}"
        raise SceneDataError(f"{what}; expected numbers of shape {expected}")
    _check_finite(path, name, array, "where a frame failed, name it in skip_frames.csv")


def _check_finite(path: Path, name: str, array: Array, remedy: str) -> None:
    import numpy as np

    count = array.size - int(np.isfinite(array).sum())
    if count:
        what = f"{path}: {name} has values that are not finite"
        raise SceneDataError(f"{what}: {count} of {array.size}; {remedy}")
