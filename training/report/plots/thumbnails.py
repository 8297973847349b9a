"""Pictures small enough to stand inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path


def smaller(path: Path, widest: int, quality: int = 85) -> bytes:
    """A picture as JPEG, at most so many pixels wide and high; raises OSError if it is none."""
    return next(smaller_and_smaller(path, [widest], quality))


def smaller_and_smaller(path: Path, sizes: Sequence[int], quality: int) -> Iterator[bytes]:
    """The same in each of the sizes, which fall; read once."""
    from PIL import Image

    with Image.open(path) as picture:
        shown = picture.convert("RGB")
    for size in sizes:
        shown.thumbnail((size, size))
        stream = io.BytesIO()
        shown.save(stream, "JPEG", quality=quality)
        yield stream.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """Content as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
