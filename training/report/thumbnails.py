"""Pictures small enough to stand inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path


def smaller(path: Path, widest: int, quality: int = 85) -> bytes:
    """A picture as JPEG, at most so many pixels wide and high; raises OSError if it is none."""
    from PIL import Image

    with Image.open(path) as picture:
        shown = picture.convert("RGB")
    shown.thumbnail((widest, widest))
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """Content as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
