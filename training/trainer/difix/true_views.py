"""True images as samples contain them: people on the plain background, encoded as a file."""

from __future__ import annotations

import errno
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    image_file,
    load_camera,
    load_image,
    load_mask,
)

Role = Literal["target", "reference"]
ABSENT = (errno.ENOENT, errno.ENOTDIR)
ENCODING: dict[str, dict[str, Any]] = {
    # The fastest level: half the time of zlib's default for a sixth more bytes.
    ".png": {"format": "png", "compress_level": 1},
    ".jpg": {"format": "jpeg", "quality": 95, "subsampling": 0},
}


@dataclass(frozen=True)
class Unusable:
    """Why there is no sample."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class TrueImage:
    """A true image (H, W, 3), 8 bit, with everything but people replaced by the background.

    `content` is the same as a file with that `suffix`; `coverage` is the fraction that people
    cover.
    """

    pixels: NDArray[np.uint8]
    content: bytes
    suffix: str
    coverage: float


@dataclass(frozen=True)
class Target:
    """What a target camera saw, and the camera."""

    image: TrueImage
    camera: CameraData


def read_target(
    folder: SceneFolder, camera: int, frame: int, background: float, least_coverage: float
) -> Target | Unusable:
    """Return the true image of a target camera, or why it can't be used; raises SceneDataError."""
    image = read_true_image(folder, camera, frame, background, "target")
    if isinstance(image, Unusable):
        return image
    if image.coverage < least_coverage:
        return Unusable("coverage too small", f"{image.coverage:.4f} is under {least_coverage:g}")
    try:
        return Target(image, load_camera(folder, camera, frame))
    except SceneDataError as error:
        return _unusable("camera", folder.camera(camera, frame), error)


def read_true_image(
    folder: SceneFolder, camera: int, frame: int, background: float, role: Role
) -> TrueImage | Unusable:
    """Return a true image, or why it can't be used; raises SceneDataError when the disk fails."""
    path, mask_path = image_file(folder, camera, frame), folder.mask(camera, EVERYONE, frame)
    try:
        image = load_image(folder, camera, frame)
    except SceneDataError as error:
        return _unusable(f"{role} image", path, error)
    try:
        mask = load_mask(folder, camera, EVERYONE, frame)
    except SceneDataError as error:
        return _unusable(f"{role} mask", mask_path, error)
    if mask.shape != image.shape[:2]:
        detail = f"{mask_path}: {mask.shape}, its image {image.shape[:2]}"
        return Unusable(f"{role} mask of another size", detail)
    pixels = np.where(mask[..., None], image, np.uint8(round(background * 255)))
    return TrueImage(pixels, encode_image(pixels, path.suffix), path.suffix, float(mask.mean()))


def encode_image(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    """Return an (H, W, 3) 8-bit image as the content of a file with that suffix."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **ENCODING[suffix])
    return buffer.getvalue()


def resized_content(image: TrueImage, width: int, height: int) -> bytes:
    """Return the content of the image's file, scaled when the image has another size."""
    if image.pixels.shape[:2] == (height, width):
        return image.content
    scaled = Image.fromarray(image.pixels).resize((width, height), Image.Resampling.LANCZOS)
    return encode_image(np.asarray(scaled), image.suffix)


def _unusable(kind: str, path: Path, error: SceneDataError) -> Unusable:
    """Convert an error about one file into a reason; re-raise it when the disk itself fails."""
    number = getattr(error.__cause__, "errno", None)
    if number in ABSENT:
        return Unusable(f"missing {kind}", str(path))
    if number is not None:
        raise error
    return Unusable(f"unreadable {kind}", str(error))
