"""What `training/display/rich_adapter.py` uses of rich beyond its documented API.

A failure means that the installed rich has changed: that file must change, and no other.
"""

from __future__ import annotations

import contextlib
import io
from importlib.metadata import version

import pyte
import pytest
from rich.console import Console
from rich.live import Live
from rich.style import Style

from training.display.rich_adapter import (
    StreamAboveLive,
    count_rows_anew,
    cut_coloured,
    detach,
    erase,
)


def broken(symbol: str, needed_by: str, purpose: str) -> str:
    return (
        f"rich {version('rich')} has changed {symbol}:"
        f" training/display/rich_adapter.py {needed_by} needs it {purpose}"
    )


@pytest.fixture
def console():
    """A console on a terminal that is a text in memory."""
    return Console(file=io.StringIO(), force_terminal=True, width=40, height=10)


@pytest.fixture
def live(console):
    """A live display that shows `drawn`."""
    live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    live.start()
    live.update("drawn", refresh=True)
    return live


def written(console: Console) -> str:
    """What has been written since the last call."""
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return text


def screen(text: str) -> list[str]:
    """The lines that a terminal shows."""
    terminal = pyte.Screen(40, 10)
    pyte.Stream(terminal).feed(text.replace("\n", "\r\n"))
    return [line.strip() for line in terminal.display if line.strip()]


def test_file_proxy_prints_whole_lines_and_keeps_the_rest(console):
    """rich.file_proxy.FileProxy(console, file).write."""
    why = broken("rich.file_proxy.FileProxy", "StreamAboveLive", "to print above the live part")
    stream = StreamAboveLive(console, io.StringIO(), contextlib.nullcontext)
    stream.write("one\ntw")
    assert written(console) == "one\n", why
    stream.write("o\n")
    assert written(console) == "two\n", why


def test_consoles_ask_a_stream_for_rich_proxied_file(console):
    """rich.console.Console.file asks the stream that it is given."""
    why = broken(
        "FileProxy.rich_proxied_file", "StreamAboveLive", "to have Prefect's console print above"
    )
    stream = StreamAboveLive(console, io.StringIO(), contextlib.nullcontext)
    assert Console(file=stream).file is stream, why
    Console(file=stream).print("of another console")
    assert written(console) == "of another console\n", why


def test_live_pushes_a_render_hook_that_can_be_popped(console, live):
    """rich.console.Console.pop_render_hook."""
    why = broken("Console.pop_render_hook", "detach", "to draw no more after a shell has written")
    written(console)
    detach(live)
    console.print("of a shell")
    assert written(console) == "of a shell\n", why


def test_clear_live_makes_room_for_another_live_display(console, live):
    """rich.console.Console.clear_live: else the next one would be nested into the first."""
    why = broken("Console.clear_live", "detach", "to begin anew below what a shell has written")
    detach(live)
    written(console)
    with Live(console=console, auto_refresh=False, redirect_stdout=False) as another:
        another.update("of another", refresh=True)
        assert "of another" in written(console), why
        console.print("above")
        assert "above" in written(console)
    assert "drawn" not in written(console), why


def test_live_reads_transient_when_it_stops(console, live):
    """rich.live.Live.transient, set after the start."""
    why = broken("Live.transient", "erase", "to leave a tidy terminal to the shell on Ctrl-Z")
    shown = written(console)
    assert screen(shown) == ["drawn"]
    erase(live)
    assert screen(shown + written(console)) == [], why


def test_the_rows_that_the_next_drawing_erases_can_be_set(console, live):
    """rich.live_render.LiveRender._shape, of rich.live.Live._live_render."""
    why = broken("LiveRender._shape", "count_rows_anew", "after a window has become narrower")
    written(console)
    count_rows_anew(live, 3)
    live.update("drawn", refresh=True)
    assert written(console).count("\x1b[1A") == 2, why


def test_text_reads_the_colours_that_style_writes():
    """rich.text.Text.from_ansi of what rich.style.Style.render returns."""
    why = broken("Text.from_ansi", "cut_coloured", "to cut a coloured line")
    line = Style.parse("green4").render("green") + " and plain"
    assert cut_coloured(line, 8) == Style.parse("green4").render("green") + " a…", why
    assert cut_coloured(line, 80) == line


def test_a_stream_above_a_terminal_is_one(console):
    """rich.file_proxy.FileProxy is an io.TextIOBase, which says no."""
    stream = StreamAboveLive(console, console.file, contextlib.nullcontext)
    console.file.isatty = lambda: True
    assert stream.isatty(), broken("FileProxy", "StreamAboveLive", "to colour what is printed")
