"""Write animations as WebP, frame by frame.

Pillow's own writer keeps all frames in memory until the last one. Here each is compressed when it
comes, and the compressed ones are put into one file: https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from training.system.atomic_write import write_atomically

FRAME_MS = 100
QUALITY = 70
RIFF_HEADER = 12  # bytes, before the image's own chunks
ANIMATED, REPLACE = 0x02, 0x02  # flags of the file, and of a frame that replaces the one before
WHITE = b"\xff" * 4


def write_animation(path: Path, frames: Iterable[Image.Image]) -> None:
    """Write RGB images of one size as an endless animation; without any, write nothing.

    Raises OSError.
    """
    parts: list[bytes] = []
    size = (1, 1)
    for frame in frames:
        size = frame.size
        parts.append(_frame(frame))
    if parts:
        write_atomically(path, _animated(size, parts))


def _animated(size: tuple[int, int], frames: list[bytes]) -> bytes:
    header = bytes([ANIMATED, 0, 0, 0]) + _size(size)
    endless = struct.pack("<H", 0)
    chunks = [_chunk(b"VP8X", header), _chunk(b"ANIM", WHITE + endless), *frames]
    return _chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def _frame(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "webp", quality=QUALITY)
    place = _uint24(0) + _uint24(0) + _size(image.size)
    duration = _uint24(FRAME_MS) + bytes([REPLACE])
    return _chunk(b"ANMF", place + duration + buffer.getvalue()[RIFF_HEADER:])


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _size(size: tuple[int, int]) -> bytes:
    return _uint24(size[0] - 1) + _uint24(size[1] - 1)


def _uint24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]
