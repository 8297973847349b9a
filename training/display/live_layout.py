"""The live part of the terminal as text: a bar, counts, and a line for each running scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

from training.display.bar import Bar
from training.display.durations import clock, estimate
from training.system.colours import COLOURS

ECHO = 4
"""Columns left free: the echo of Ctrl-C behind the last line must not begin another line."""
WORDS = {"done": "done", "failed": "failed", "cancelled": "cancelled", "held": "held by others"}
Phase = Literal["going on", "stopping", "over"]


@dataclass(frozen=True)
class Running:
    """A scene whose trainer runs."""

    name: str
    elapsed_s: float
    says: str = ""
    """`epoch 3/30, loss 0.0123`, or the last line of its log."""
    where: str = ""
    """The Slurm job and its node; empty on this machine."""
    attempt: int = 1


@dataclass(frozen=True)
class LiveState:
    """All scenes of a launch at one moment."""

    title: str
    total: int
    ended: Mapping[str, int]
    """Number of scenes by how they ended (`Outcome.status`)."""
    running: Sequence[Running]
    elapsed_s: float
    left_s: float | None = None
    begun: float = 0.0
    """Finished parts of the running scenes, as a number of scenes."""
    phase: Phase = "going on"

    @property
    def open(self) -> int:
        """Number of scenes that have not ended."""
        return self.total - sum(self.ended.values())


def draw(state: LiveState, width: int, height: int, encoding: str = "utf-8") -> list[Text]:
    """Return fewer than `height` lines of fewer than `width` columns, encodable in `encoding`."""
    width = max(1, width - ECHO)
    lines = [_bar(state, width, encoding), _counts(state)]
    # One line stays free for what is printed above.
    lines += _scenes(state, max(0, height - len(lines) - 1), width)
    return [_fitted(line, width, encoding) for line in lines[: max(1, height - 1)]]


def _bar(state: LiveState, width: int, encoding: str) -> Text:
    """Return title, bar (done or running, then failed) and how many scenes are done."""
    ended = state.ended
    begun = 0.0 if state.phase == "over" else state.begun  # what was stopped is not done
    bar = Bar(state.title, state.total, ended.get("done", 0), ended.get("failed", 0), begun)
    parts = bar.parts(width, encoding)
    return Text.assemble(*((text, COLOURS.get(meaning, "")) for text, meaning in parts))


def _counts(state: LiveState) -> Text:
    """Return how many scenes are in each state, coloured, and the time."""
    counts = {WORDS[each]: state.ended.get(each, 0) for each in WORDS}
    if state.phase == "going on":
        running = len(state.running)
        counts |= {"running": running, "waiting": state.open - running}
    else:
        counts["not done"] = state.open
    line = Text()
    if state.phase == "stopping":
        line.append("stopping", COLOURS["stopping"]).append(": ")
    line.append_text(Text(", ").join(_count(n, word) for word, n in counts.items() if n))
    return line.append(_time(state))


def _count(number: int, word: str) -> Text:
    meaning = "held" if word.startswith("held") else word
    return Text(f"{number} ").append(word, COLOURS[meaning])


def _time(state: LiveState) -> str:
    if state.phase == "over":
        return f", after {clock(state.elapsed_s)}"
    so_far = f"; {clock(state.elapsed_s)} so far"
    return so_far if state.phase == "stopping" else f"{so_far}, {_left(state.left_s)}"


def _left(left_s: float | None) -> str:
    if left_s is None:
        return "time left not known yet"
    return estimate(left_s) if left_s else "longer than expected"


def _scenes(state: LiveState, rows: int, width: int) -> list[Text]:
    """Return a line for each scene that has run longest, and how many more there are."""
    if state.phase != "going on" or rows == 0:
        return []
    shown = state.running if len(state.running) <= rows else state.running[: rows - 1]
    more = len(state.running) - len(shown)
    longest = max((Text(each.name).cell_len for each in shown), default=0)
    lines = [Text(_scene(each, min(max(8, width // 2), longest))) for each in shown]
    return [*lines, Text(f"  and {more} more", "dim")] if more else lines


def _scene(each: Running, width: int) -> str:
    name = Text(each.name)
    name.truncate(width, overflow="crop", pad=True)
    attempt = f"attempt {each.attempt}" if each.attempt > 1 else ""
    parts = [f"{clock(each.elapsed_s):>7}", _plain(each.says), attempt, each.where]
    return f"  {name.plain} " + "  ".join(filter(None, parts))


def _plain(text: str) -> str:
    """Return a trainer's output as one line without characters that move the cursor."""
    printable = "".join(c if c.isprintable() else " " for c in Text.from_ansi(text).plain)
    return " ".join(printable.split())


def _fitted(line: Text, width: int, encoding: str) -> Text:
    """Return the line in characters of that encoding, cut at `width`."""
    try:
        line.plain.encode(encoding)
    except UnicodeEncodeError:
        line = Text(line.plain.encode(encoding, "backslashreplace").decode(encoding))
    line.no_wrap = True
    line.truncate(width, overflow="crop")
    return line
