"""Print to a terminal, a file or a pipe without ever failing because of it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Print; a reader that has gone (`| head`) or is full silences us, it ends no training."""
    stream = stream or sys.stdout
    try:
        print(f"{text}\n", end="", file=stream, flush=True)  # at once: threads print too
    except (OSError, ValueError):  # gone, full, closed
        silence(stream)


def show_any_letter() -> None:
    """Have a terminal without our letters show their numbers: that is no failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence(stream: TextIO) -> None:
    """Have what is written from now on go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
