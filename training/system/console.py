"""Print to a terminal, a file or a pipe; a reader that has gone or is full ends no program."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import TextIO

COLOUR = re.compile(r"\x1b\[[0-9;?]*[@-~]")
"""What sets a terminal's colours, or moves its cursor (ECMA-48, CSI sequences)."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters (Unicode's Cc) but tab and newline."""


def say(text: str, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Print a line to `stream`, by default standard output, at once.

    When the stream is closed or full (`| head`), all later output to it is discarded.
    """
    stream = stream or sys.stdout
    try:
        print(f"{text}{end}", end="", file=stream, flush=True)  # one write: threads print too
    except (OSError, ValueError):  # ValueError: closed by ourselves
        silence(stream)


def printable(text: str) -> str:
    r"""Return what another program has written as a text that no terminal obeys.

    Colours are left out, and other control characters escaped: `\x07`.
    """
    if text.isprintable():
        return text
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", COLOUR.sub("", text))


def escape_unencodable() -> None:
    """Escape characters that the terminal's encoding lacks instead of raising an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; one that was closed (`>&-`) is none."""
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


def open_closed_streams() -> None:
    """Have what is printed to a closed stream (`>&-`) discarded, here and in child processes.

    Else the next file that is opened would take its number, and get what a child prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def silence(stream: TextIO) -> None:
    """Discard everything that is written to `stream` from now on."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
