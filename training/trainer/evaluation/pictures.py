"""Pictures of images side by side, as one sheet or as a video."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training.system.atomic_write import write_atomically
from training.trainer.evaluation.webp import write_animation

SMALLEST_TILE, LARGEST_TILE = 288, 640  # pixels of the longer side of a tile
GAP = 6
VIDEO_SIDE = 1024
FONT, LINE_GAP = 24, 8


def write_image_grid(
    path: Path, titles: Sequence[str], rows: Mapping[str, Sequence[Image.Image]]
) -> None:
    """Write `image_grid` as PNG; raises OSError."""
    buffer = io.BytesIO()
    image_grid(titles, rows).save(buffer, "png")
    write_atomically(path, buffer.getvalue())


def image_grid(
    titles: Sequence[str], rows: Mapping[str, Sequence[Image.Image]], font_size: int = FONT
) -> Image.Image:
    """Return a sheet of rows of images of one size, with titles above and labels at the left.

    A comma ends a line of a label; `font_size` is the height of letters, pixels.
    """
    tiles = [[tile(image) for image in images] for images in rows.values()]
    labels = [label.replace(", ", "\n") for label in rows]
    width, height = tiles[0][0].size
    font, caption = ImageFont.load_default(size=font_size), font_size * 3 // 2
    left = GAP + _widest(labels, font) + 2 * GAP
    size = (left + len(titles) * (width + GAP), caption + len(rows) * (height + GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((left + column * (width + GAP), 4), title, fill="black", font=font)
    for index, (label, images) in enumerate(zip(labels, tiles, strict=True)):
        top = caption + index * (height + GAP)
        for column, image in enumerate(images):
            sheet.paste(image, (left + column * (width + GAP), top))
        draw.multiline_text((GAP, top + height / 2), label, "black", font, "lm", LINE_GAP)
    return sheet


def write_video(path: Path, frames: Iterable[Sequence[Tensor]]) -> None:
    """Write frames, each of images (H, W, 3) side by side, as animated WebP; raises OSError.

    Frames are at most VIDEO_SIDE pixels high or wide, and nothing is written without any.
    """
    write_animation(path, (_side_by_side(list(map(to_pil_image, images))) for images in frames))


def _widest(labels: Iterable[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    lines = (line for label in labels for line in label.splitlines())
    return max((round(font.getbbox(line)[2]) for line in lines), default=0)


def _side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    width, height = images[0].size
    page = Image.new("RGB", (len(images) * width, height))
    for place, image in enumerate(images):
        page.paste(image, (place * width, 0))
    page.thumbnail((VIDEO_SIDE, VIDEO_SIDE))
    return page


def to_pil_image(image: Tensor) -> Image.Image:
    """Convert an (H, W, 3) tensor in [0, 1] to an 8-bit image."""
    return Image.fromarray(to_uint8(image))


def to_uint8(image: Tensor) -> NDArray[np.uint8]:
    """Convert an (H, W, 3) tensor in [0, 1] to an 8-bit array."""
    levels: NDArray[np.uint8] = (image.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return levels


def tile(picture: Image.Image) -> Image.Image:
    """Return a picture in the size of a tile: small ones enlarged, large ones made smaller."""
    longer = max(picture.size)
    if longer > LARGEST_TILE:
        width, height = (max(1, side * LARGEST_TILE // longer) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    factor = max(1, -(-SMALLEST_TILE // longer))
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC
    )
