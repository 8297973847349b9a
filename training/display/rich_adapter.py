"""All that we use of rich beyond its documented API; an upgrade of rich breaks this file only.

Each use says why. `tests/contracts/test_rich.py` fails by name when rich changes one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import IO, cast

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.text import Text

Exclusive = Callable[[], AbstractContextManager[None]]


class StreamAboveLive(FileProxy):
    """A stream whose lines appear above a live display.

    `FileProxy` is what `Live(redirect_stdout=True)` puts in place of sys.stdout. That option can't
    be used: its proxy takes no lock of ours, so that two threads tear each other's lines, and it is
    bound to one `Live`, while ours begins anew after Ctrl-Z.
    """

    def __init__(self, console: Console, file: IO[str], exclusive: Exclusive) -> None:
        super().__init__(console, file)
        self._exclusive = exclusive

    @property
    def rich_proxied_file(self) -> IO[str]:
        """The stream itself, where rich's class returns the terminal behind it.

        `Console.file` asks for it, so that consoles of others (Prefect's) would write past us, into
        the live part.
        """
        return cast("IO[str]", self)

    def isatty(self) -> bool:
        """Return whether the stream is a terminal, where rich's class always says no."""
        return super().rich_proxied_file.isatty()

    def write(self, text: str) -> int:
        """Print the lines that are whole, and keep the rest until it is."""
        with self._exclusive():
            return super().write(text)


def detach(live: Live) -> None:
    """Detach a live display from the console without writing anything to the terminal.

    The two steps are those of `Live.stop()` without its last drawing: what it would erase has
    become lines of a shell.
    """
    live.console.pop_render_hook()
    live.console.clear_live()


def erase(live: Live) -> None:
    """Remove a live display from the terminal; one that has gone is no error.

    `transient` is documented as an argument of `Live` only; whether a display stays is known at its
    end.
    """
    live.transient = True
    with suppress(OSError, ValueError):
        live.stop()


def cut_coloured(line: str, width: int) -> str:
    """Return a line cut to so many columns, with the colours that it has.

    `Text.from_ansi` reads what `Style.render` has written; both are documented, their agreement is
    not.
    """
    text = Text.from_ansi(line)
    if text.cell_len <= width:
        return line
    text.truncate(width, overflow="ellipsis")
    return "".join(
        segment.style.render(segment.text) if segment.style else segment.text
        for segment in text.render(Console(), end="")
    )


def count_rows_anew(live: Live, rows: int) -> None:
    """Have the next drawing erase so many rows: a narrower window has wrapped the last one's lines.

    rich counts lines as they were drawn, and would leave the upper ones behind.
    """
    live._live_render._shape = (live.console.width, rows)  # noqa: SLF001 - no way without
