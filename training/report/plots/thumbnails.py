"""Make pictures small enough to be embedded in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path


def smaller(path: Path, widest: int, quality: int = 85) -> bytes:
    """Return a picture as JPEG of at most `widest` pixels; raises OSError if it is no picture."""
    return next(smaller_and_smaller(path, [widest], quality))


def smaller_and_smaller(path: Path, sizes: Sequence[int], quality: int) -> Iterator[bytes]:
    """Yield a picture as JPEG in each of the sizes, which must fall; the file is read once."""
    from PIL import Image

    with Image.open(path) as picture:
        shown = picture.convert("RGB")
    for size in sizes:
        shown.thumbnail((size, size))
        stream = io.BytesIO()
        shown.save(stream, "JPEG", quality=quality)
        yield stream.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """Return content as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
