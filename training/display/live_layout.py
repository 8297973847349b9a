"""The live part of the terminal as text: a bar, counts, and a line for each running scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

from training.display.durations import clock, estimate

WIDEST = 100
"""Columns of the bar: a longer one tells no more."""
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
    lines = [_bar(state, width, encoding), Text(_counts(state))]
    # One line stays free for what is printed above.
    lines += _scenes(state, max(0, height - len(lines) - 1), width)
    return [_fitted(line, width, encoding) for line in lines[: max(1, height - 1)]]


def _bar(state: LiveState, width: int, encoding: str) -> Text:
    """Return title, bar (green: done or running, red: ended otherwise) and how many have ended."""
    ended = sum(state.ended.values())
    title, numbers = f"{state.title} ", f" {ended} of {state.total}"
    whole = min(WIDEST, width - Text(title).cell_len - len(numbers))
    if whole < 1:
        return Text(f"{title.strip()}{numbers}")
    done = state.ended.get("done", 0)
    ends = [done + state.begun, ended + state.begun, state.total]
    marks = [round(whole * min(1.0, each / max(1, state.total))) for each in ends]
    heavy, light = ("━", "─") if encoding.lower().startswith("utf") else ("=", "-")
    line = Text(title).append(heavy * marks[0], "green")
    line.append(heavy * (marks[1] - marks[0]), "red").append(light * (whole - marks[1]), "dim")
    return line.append(numbers)


def _counts(state: LiveState) -> str:
    counts = {WORDS[each]: state.ended.get(each, 0) for each in WORDS}
    if state.phase == "going on":
        running = len(state.running)
        counts |= {"running": running, "waiting": state.open - running}
    else:
        counts["not done"] = state.open
    shown = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return _TIMES[state.phase](shown, state)


def _going_on(counts: str, state: LiveState) -> str:
    left = f", {estimate(state.left_s)}" if state.left_s else ""  # 0: longer than the done ones
    return f"{counts}; {clock(state.elapsed_s)} so far{left}"


_TIMES: dict[Phase, Callable[[str, LiveState], str]] = {
    "going on": _going_on,
    "stopping": lambda counts, state: f"stopping: {counts}; {clock(state.elapsed_s)} so far",
    "over": lambda counts, state: f"{counts}, after {clock(state.elapsed_s)}",
}


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
