"""Print to a terminal, a file or a pipe; a reader that has gone or is full ends no program."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line to `stream`, by default standard output, at once.

    When the stream is closed or full (`| head`), all later output to it is discarded.
    """
    stream = stream or sys.stdout
    try:
        print(f"{text}\n", end="", file=stream, flush=True)  # one write: threads print too
    except (OSError, ValueError):  # ValueError: closed by ourselves
        silence(stream)


def escape_unencodable() -> None:
    """Escape characters that the terminal's encoding lacks instead of raising an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence(stream: TextIO) -> None:
    """Discard everything that is written to `stream` from now on."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
