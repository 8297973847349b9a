"""The picture of an evaluation: target | before | after, a row for each view."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training.trainer.files import write_bytes

TILE = 288  # pixels of the longer side of a tile, at least
GAP = 6
CAPTION = 26
COLUMNS = ("target", "before training", "after {epoch} epochs")


@dataclass(frozen=True)
class Row:
    """One held-out view and the model's renders before and after, each (H, W, 3) in [0, 1]."""

    label: str
    target: Tensor
    before: Tensor
    after: Tensor


def write_comparison(path: Path, rows: Sequence[Row], epoch: int) -> None:
    """Write the rows below each other as PNG, with captions; raises OSError."""
    tiles = [[_tile(image) for image in (row.target, row.before, row.after)] for row in rows]
    width, height = tiles[0][0].size
    sheet = Image.new(
        "RGB",
        (3 * width + 4 * GAP, CAPTION + len(rows) * (height + CAPTION) + GAP),
        "white",
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for column, title in enumerate(COLUMNS):
        place = (GAP + column * (width + GAP), 4)
        draw.text(place, title.format(epoch=epoch), fill="black", font=font)
    for index, (row, images) in enumerate(zip(rows, tiles, strict=True)):
        top = CAPTION + index * (height + CAPTION)
        for column, image in enumerate(images):
            sheet.paste(image, (GAP + column * (width + GAP), top))
        draw.text((GAP, top + height + 3), row.label, fill="black", font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    write_bytes(path, buffer.getvalue())


def to_image(image: Tensor) -> Image.Image:
    """An (H, W, 3) tensor in [0, 1] as an 8-bit image."""
    levels = (image.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(levels)


def _tile(image: Tensor) -> Image.Image:
    picture = to_image(image)
    factor = max(1, -(-TILE // max(picture.size)))
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC
    )
