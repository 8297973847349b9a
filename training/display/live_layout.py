"""What a launch shows on a terminal: lines that stay, and below them a part that is redrawn.

Imported only where it is shown: rich is not needed anywhere else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TextIO, cast

from rich.console import Console, Group
from rich.file_proxy import FileProxy
from rich.live import Live

from training.display.lines import Lines
from training.display.live import Board, Phase, Running, draw
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.scene_state import SceneState, State, seconds_left
from training.slurm.job_states import JobLocation
from training.system.console import silence
from training.system.scene_log import (
    HEADING,
    last_lines,
    latest_progress,
    progress_fraction,
    progress_text,
)

TICK_S = 1.0
CLOSE_S = 2.0
MOST_READS = 8
"""Logs read in one tick: on a shared disk, of many scenes, each read is a request."""


def live_display(plan: Plan) -> LiveDisplay | None:
    """A live display on standard output; None for a terminal that can't move its cursor."""
    console = Console(file=sys.stdout, soft_wrap=True, markup=False, emoji=False, highlight=False)
    return LiveDisplay(plan, Screen(console)) if console.is_interactive else None


class Screen:
    """A terminal whose last lines are redrawn, while all that is printed goes above them.

    Until `close`, standard output and, on a terminal, standard error print through it, from any
    thread. The cursor stays visible: whatever ends this process, the terminal is in order.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._is_closed = False
        self._streams = sys.stdout, sys.stderr
        self._on_suspend = signal.getsignal(signal.SIGTSTP)
        if self._on_suspend is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._suspend)
        sys.stdout = cast("TextIO", _Above(self, sys.stdout))
        if sys.stderr and sys.stderr.isatty():
            sys.stderr = cast("TextIO", _Above(self, sys.stderr))

    def show(self, lines: Group) -> None:
        """Replace the last lines."""
        with self.whole():
            if self._is_closed or not _is_in_foreground(self.console.file):
                return
            if self._live is None:
                self._live = Live(
                    console=self.console,
                    auto_refresh=False,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()
                self.console.show_cursor(True)
            self._live.update(lines, refresh=True)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """One thread at a time, and nothing is redrawn in the background."""
        with self._lock:
            if self._live is not None and not _is_in_foreground(self.console.file):
                self._live = None  # its lines are above what a shell has written
                self.console.pop_render_hook()
                self.console.clear_live()
            yield

    def close(self) -> None:
        """Leave the last lines as they are and give the streams back."""
        if self._is_closed:
            return
        try:
            with self.whole():
                self._is_closed = True
                if self._live is not None:
                    self._live.stop()
        finally:
            self._live = None
            signal.signal(signal.SIGTSTP, self._on_suspend)
            sys.stdout, sys.stderr = self._streams

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: give the shell a tidy screen, and begin anew below what it has written."""
        with self._lock:  # nobody draws before this process goes on
            self._erase()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self._suspend)

    def _erase(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.transient = True
            with suppress(OSError, ValueError):
                live.stop()


class _Above(FileProxy):
    """A stream whose lines go above the live part."""

    def __init__(self, screen: Screen, file: IO[str]) -> None:
        super().__init__(screen.console, file)
        self._screen = screen

    @property
    def rich_proxied_file(self) -> IO[str]:
        """Itself: consoles of others (Prefect's) would write past the proxy."""
        return cast("IO[str]", self)

    def write(self, text: str) -> int:
        """Print the lines that are whole."""
        with self._screen.whole():
            return super().write(text)


def _is_in_foreground(terminal: IO[str]) -> bool:
    """Whether the shell has given us its terminal; a job in the background redraws nothing."""
    try:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # not a shell's
        return True


@dataclass
class _Start:
    """A start that goes on."""

    scene: ScenePlan
    number: int
    location: JobLocation | None
    since: float = field(default_factory=time.monotonic)
    read: float = 0.0
    """When its log was read last."""
    says: str = ""
    fraction: float = 0.0
    """How much of its epochs is behind it."""

    def look(self) -> None:
        """Read its log's end: progress, or what a trainer without such lines says last."""
        progress = latest_progress(self.scene.log)
        words = "" if progress else next(iter(last_lines(self.scene.log, 1)), "")
        says = progress_text(progress) if progress else words * (not words.startswith(HEADING))
        self.says, self.fraction = says, progress_fraction(progress or {})
        self.read = time.monotonic()

    def running(self) -> Running:
        return Running(
            name=self.scene.name,
            elapsed_s=time.monotonic() - self.since,
            says=self.says,
            where=str(self.location or ""),
            attempt=self.number,
        )


class LiveDisplay(Lines):
    """Lines about the ends of scenes; below them how far all are, and what runs.

    Of a single scene the whole log goes by above.
    """

    is_live = True

    def __init__(self, plan: Plan, screen: Screen) -> None:
        super().__init__(len(plan.of("run")))
        self._plan = plan
        self._screen = screen
        self._begun_at = time.monotonic()
        self._attempts: dict[str, _Start] = {}
        self._ends: dict[str, Outcome] = {}
        self._closing = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="display", daemon=True)

    def started(self, scene: ScenePlan, attempt: int, location: JobLocation | None = None) -> None:
        """Show that an attempt has started, in a Slurm job or (None) on this machine."""
        if self._total == 1:
            super().started(scene, attempt, location)
        with self._lock:
            self._attempts[scene.name] = _Start(scene, attempt, location)
            self._ends.pop(scene.name, None)
        self._show()

    def ended(self, scene: ScenePlan, outcome: Outcome) -> None:
        """The end of a start, with its last words when it failed."""
        super().ended(scene, outcome)
        with self._lock:
            self._attempts.pop(scene.name, None)
            self._ends[scene.name] = outcome
        self._show()

    def refresh(self) -> None:
        """Show what is new in the log of a single scene; the rest is shown by a thread."""
        super().refresh()
        with self._lock:
            if self._ticking.ident is None and not self._closing.is_set():
                self._ticking.start()

    def close(self) -> None:
        """Leave the terminal as it was found, with the bar as it stands."""
        self._closing.set()
        try:
            if self._ticking.ident is not None:
                self._ticking.join(CLOSE_S)  # a disk that does not answer holds nobody up
                self._show("over")
        finally:
            self._quietly(self._screen.close)

    def _tick(self) -> None:
        while not self._closing.is_set():
            self._read_logs()
            self._show()
            self._closing.wait(TICK_S)

    def _read_logs(self) -> None:
        """The progress of some of those that are shown, in turn."""
        with self._lock:
            shown = list(self._attempts.values())[: self._screen.console.height]
        for start in sorted(shown, key=lambda each: each.read)[:MOST_READS]:
            start.look()

    def _show(self, phase: Phase = "going on") -> None:
        if phase == "going on" and os.path.lexists(self._plan.cancelled):
            phase = "stopping"
        with self._lock:
            board = self._board(phase)
        size, encoding = self._screen.console.size, self._screen.console.encoding
        lines = Group(*draw(board, size.width, size.height, encoding))
        self._quietly(lambda: self._screen.show(lines))

    def _show_progress(self, scene: ScenePlan) -> None:
        """It is in the live part."""

    def _quietly(self, write: Callable[[], None]) -> None:
        """Draw; a terminal that has gone ends no training."""
        try:
            write()
        except (OSError, ValueError):
            silence(cast("TextIO", self._screen.console.file))

    def _board(self, phase: Phase) -> Board:
        attempt = self._attempts.values()
        return Board(
            title=self._plan.exp_name,
            total=self._total,
            ended=Counter(outcome.status for outcome in self._ends.values()),
            running=[start.running() for start in attempt],
            elapsed_s=time.monotonic() - self._begun_at,
            left_s=self._seconds_left(),
            begun=sum(start.fraction for start in attempt),
            phase=phase,
        )

    def _seconds_left(self) -> float | None:
        running = [start.running() for start in self._attempts.values()]
        ended = [(each.scene, each.status, each.seconds) for each in self._ends.values()]
        waiting = self._total - len(running) - len(ended)
        return seconds_left(
            [
                *(_state(name, "done", took) for name, status, took in ended if status == "done"),
                *(_state(each.name, "running", each.elapsed_s) for each in running),
                *([_state("", "queued")] * waiting),
            ],
            self._plan.slurm.parallelism if self._plan.slurm else self._plan.workers,
        )


def _state(name: str, state: State, elapsed_s: float | None = None) -> SceneState:
    return SceneState(name, state, Path(), elapsed_s=elapsed_s)
