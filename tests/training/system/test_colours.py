"""Colours where they are wanted, and nowhere else."""

from __future__ import annotations

import io

import pytest

from training.system.colours import COLOURS, painted


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"TTY_INTERACTIVE": "0"}, False),
        (Terminal(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (None, {}, False),
    ],
)
def test_where_there_is_colour(monkeypatch, stream, environment, coloured):
    """A terminal that knows colours, unless NO_COLOR is set; a file only with FORCE_COLOR."""
    monkeypatch.setattr("sys.stdout", stream)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    shown = painted("failed", "failed")
    assert (shown != "failed") is coloured
    assert painted("x", "no meaning") == "x"


def test_every_colour_has_one_on_old_terminals(monkeypatch):
    """Of 16 colours neither white nor black: one of them would be invisible."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    used = {painted("x", meaning, Terminal()).removesuffix("x\x1b[0m") for meaning in COLOURS}
    assert used <= {"\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[90m", "\x1b[91m"}
