"""The live part of a launch as lines of text: a bar, counts, and a line a running scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from training.display.durations import clock, estimate

WIDEST = 100
"""A bar longer than this tells no more."""
ECHO = 4
"""Columns left free: a Ctrl-C is echoed behind the last line and must not begin another."""
WORDS = {"done": "done", "failed": "failed", "cancelled": "cancelled", "held": "held by others"}
Phase = Literal["going on", "stopping", "over"]


@dataclass(frozen=True)
class Running:
    """A scene that a trainer is at work on."""

    name: str
    elapsed_s: float
    says: str = ""
    """`epoch 3/30, loss 0.0123`, or its log's last line."""
    where: str = ""
    """The Slurm job and its node; empty on this machine."""
    attempt: int = 1


@dataclass(frozen=True)
class Board:
    """A launch at one moment."""

    title: str
    total: int
    ended: Mapping[str, int]
    """Scenes by how they ended (`Outcome.status`)."""
    running: Sequence[Running]
    elapsed_s: float
    left_s: float | None = None
    begun: float = 0.0
    """What the running scenes have behind them, in scenes."""
    phase: Phase = "going on"

    @property
    def open(self) -> int:
        """Scenes that have not ended."""
        return self.total - sum(self.ended.values())


def draw(board: Board, width: int, height: int, encoding: str = "utf-8") -> list[Text]:
    """At most `height` lines of less than `width` columns, in letters of that encoding."""
    width = max(1, width - ECHO)
    lines = [_bar(board, width, encoding), Text(_counts(board))]
    # A line stays free: what is said above must have a place.
    lines += _scenes(board, max(0, height - len(lines) - 1), width)
    return [_fitted(line, width, encoding) for line in lines[: max(1, height - 1)]]


def _bar(board: Board, width: int, encoding: str) -> Text:
    """How much has ended, well and otherwise, as a line; the title before, the numbers behind."""
    ended = sum(board.ended.values())
    title, numbers = f"{board.title} ", f" {ended} of {board.total}"
    whole = min(WIDEST, width - cell_len(title) - len(numbers))
    if whole < 1:
        return Text(f"{title.strip()}{numbers}")
    done = board.ended.get("done", 0)
    ends = [done + board.begun, ended + board.begun, board.total]
    marks = [round(whole * min(1.0, each / max(1, board.total))) for each in ends]
    heavy, light = ("━", "─") if encoding.lower().startswith("utf") else ("=", "-")
    line = Text(title).append(heavy * marks[0], "green")
    line.append(heavy * (marks[1] - marks[0]), "red").append(light * (whole - marks[1]), "dim")
    return line.append(numbers)


def _counts(board: Board) -> str:
    counts = {WORDS[each]: board.ended.get(each, 0) for each in WORDS}
    if board.phase == "going on":
        running = len(board.running)
        counts |= {"running": running, "waiting": board.open - running}
    else:
        counts["not done"] = board.open
    shown = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return _TIMES[board.phase](shown, board)


def _going_on(counts: str, board: Board) -> str:
    left = f", {estimate(board.left_s)}" if board.left_s else ""  # 0: longer than the done ones
    return f"{counts}; {clock(board.elapsed_s)} so far{left}"


_TIMES: dict[Phase, Callable[[str, Board], str]] = {
    "going on": _going_on,
    "stopping": lambda counts, board: f"stopping: {counts}; {clock(board.elapsed_s)} so far",
    "over": lambda counts, board: f"{counts}, after {clock(board.elapsed_s)}",
}


def _scenes(board: Board, rows: int, width: int) -> list[Text]:
    """The scenes that have run longest, and how many more there are."""
    if board.phase != "going on" or rows == 0:
        return []
    shown = board.running if len(board.running) <= rows else board.running[: rows - 1]
    more = len(board.running) - len(shown)
    widest = min(max(8, width // 2), max((cell_len(each.name) for each in shown), default=0))
    lines = [Text(_scene(each, widest)) for each in shown]
    return [*lines, Text(f"  and {more} more", "dim")] if more else lines


def _scene(each: Running, width: int) -> str:
    name = set_cell_size(each.name, width)
    again = f"start {each.attempt}" if each.attempt > 1 else ""
    parts = [f"{clock(each.elapsed_s):>7}", _plain(each.says), again, each.where]
    return f"  {name} " + "  ".join(filter(None, parts))


def _plain(text: str) -> str:
    """One line without what would move the cursor: a trainer may say anything."""
    printable = "".join(c if c.isprintable() else " " for c in Text.from_ansi(text).plain)
    return " ".join(printable.split())


def _fitted(line: Text, width: int, encoding: str) -> Text:
    """The line as that terminal can show it, without what is too long."""
    try:
        line.plain.encode(encoding)
    except UnicodeEncodeError:
        line = Text(line.plain.encode(encoding, "backslashreplace").decode(encoding))
    line.no_wrap = True
    line.truncate(width, overflow="crop")
    return line
