"""What a launch shows on a terminal: lines that stay, and below them a part that is redrawn.

Imported only where it is shown, since nothing else needs rich.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from training.display.lines import Lines
from training.display.live_layout import LiveState, Phase, Running, draw
from training.display.rich_adapter import StreamAboveLive, count_rows_anew, detach, erase
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.scene_state import SceneState, State, seconds_left
from training.slurm.job_states import JobLocation
from training.system.console import silence
from training.system.scene_log import (
    HEADING,
    last_lines,
    progress_fraction,
    progress_lines,
    progress_text,
    seconds_to_go,
)

TICK_S = 1.0
CLOSE_S = 2.0
XTERM = "XTERM_VERSION"
"""A variable that xterm sets, though programs in it, such as tmux, may unset it."""
FEW = 200
"""Up to so many scenes the time left is estimated for each drawing."""
MOST_READS = 8
"""Logs read in one tick; of hundreds of scenes on a shared disk, each read is a request."""


def live_display(plan: Plan) -> LiveDisplay | None:
    """Return a live display on standard output; None for a terminal that can't move its cursor."""
    console = Console(file=sys.stdout, soft_wrap=True, markup=False, emoji=False, highlight=False)
    return LiveDisplay(plan, Screen(console)) if console.is_interactive else None


class Screen:
    """A terminal whose last lines are redrawn, while everything that is printed goes above them.

    Until `close`, standard output and, if it is a terminal, standard error print through it, from
    any thread. The cursor stays visible: the terminal is in order however this process ends.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._drawn: Sequence[Text] = ()
        """The last lines as they were drawn, and in a window of which width."""
        self._drawn_width = 0
        self._is_closed = False
        self._streams = sys.stdout, sys.stderr
        self._on_suspend = signal.getsignal(signal.SIGTSTP)
        if self._on_suspend is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._suspend)
        sys.stdout = self._above(sys.stdout)
        if sys.stderr and sys.stderr.isatty():
            sys.stderr = self._above(sys.stderr)

    def show(self, lines: Sequence[Text]) -> None:
        """Replace the last lines; do nothing after `close` or in the background."""
        with self.exclusive():
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
            self._drawn, self._drawn_width = lines, self.console.width
            self._live.update(Group(*lines), refresh=True)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one thread write at a time, and redraw nothing in the background."""
        with self._lock:
            if self._live is not None and not _is_in_foreground(self.console.file):
                detach(self._live)  # its lines are above what a shell has written
                self._live = None
            if self._live is not None and self.console.width < self._drawn_width:
                self._drawn_width = self.console.width
                count_rows_anew(self._live, rows_of(self._drawn, self._drawn_width))
            yield

    def close(self) -> None:
        """Leave the last lines as they are and restore the streams."""
        if self._is_closed:
            return
        try:
            with self.exclusive():
                self._is_closed = True
                if self._live is not None:
                    self._live.stop()
        finally:
            self._live = None
            signal.signal(signal.SIGTSTP, self._on_suspend)
            sys.stdout, sys.stderr = self._streams

    def _above(self, stream: TextIO) -> TextIO:
        return cast("TextIO", StreamAboveLive(self.console, stream, self.exclusive))

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """On Ctrl-Z, erase the live part and stop; later, draw below what the shell has written."""
        with self._lock:  # nobody draws before this process is continued
            live, self._live = self._live, None
            if live is not None:
                erase(live)
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self._suspend)


def rows_of(lines: Iterable[Text], width: int) -> int:
    """Return how many rows lines take in a window that has become narrower.

    Terminals wrap what they show; xterm alone cuts it, and says who it is.
    """
    if XTERM in os.environ:
        return sum(1 for _ in lines)
    return sum(max(1, -(-line.cell_len // max(1, width))) for line in lines)


def _is_in_foreground(terminal: IO[str]) -> bool:
    """Return whether this process may draw: a shell's background job may not."""
    try:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # not the terminal of a shell
        return True


@dataclass
class _RunningAttempt:
    """An attempt that runs, and its progress as last read from its log."""

    scene: ScenePlan
    number: int
    location: JobLocation | None
    since: float = field(default_factory=time.monotonic)
    read: float = 0.0
    """When its log was last read (`time.monotonic`)."""
    says: str = ""
    fraction: float = 0.0
    """The part of its epochs that is finished, 0 to 1."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Its progress lines that were read last."""

    def read_log(self) -> None:
        """Read the log's end: its progress lines, or without such lines its last line."""
        self.lines = progress_lines(self.scene.log)
        progress = self.lines[-1] if self.lines else None
        words = "" if progress else next(iter(last_lines(self.scene.log, 1)), "")
        says = progress_text(progress) if progress else words * (not words.startswith(HEADING))
        self.says, self.fraction = says, progress_fraction(progress or {})
        self.read = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.since

    def left_s(self) -> float | None:
        """Estimate the seconds left by its own progress; None where it tells none."""
        return seconds_to_go(self.lines, self.elapsed_s, self.number)

    def shown(self) -> Running:
        return Running(
            name=self.scene.name,
            elapsed_s=self.elapsed_s,
            says=self.says,
            where=str(self.location or ""),
            attempt=self.number,
        )


class LiveDisplay(Lines):
    """A viewer that prints a line for each end, and below them redraws the progress of all scenes.

    Of a single scene, the whole log is printed above.
    """

    is_live = True

    def __init__(self, plan: Plan, screen: Screen) -> None:
        super().__init__(len(plan.of("run")))
        self._plan = plan
        self._screen = screen
        self._begun_at = time.monotonic()
        self._running_attempts: dict[str, _RunningAttempt] = {}
        self._ended: dict[str, Outcome] = {}
        self._left_s: float | None = None
        self._estimated_at = float("-inf")
        self._closing = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="display", daemon=True)

    def started(self, scene: ScenePlan, attempt: int, location: JobLocation | None = None) -> None:
        """Show that an attempt has started, in a Slurm job or (None) on this machine."""
        if self._total == 1:
            super().started(scene, attempt, location)
        with self._lock:
            self._running_attempts[scene.name] = _RunningAttempt(scene, attempt, location)
            self._ended.pop(scene.name, None)
        self._show()

    def ended(self, scene: ScenePlan, outcome: Outcome, *, will_retry: bool) -> None:
        """Show how an attempt has ended; a scene that will be retried is waiting again."""
        super().ended(scene, outcome, will_retry=will_retry)
        with self._lock:
            self._running_attempts.pop(scene.name, None)
            if not will_retry:
                self._ended[scene.name] = outcome
        self._show()

    def refresh(self) -> None:
        """Show what is new in the log of a single scene; a thread, begun here, shows the rest."""
        super().refresh()
        with self._lock:
            if self._ticking.ident is None and not self._closing.is_set():
                self._ticking.start()

    def close(self) -> None:
        """Leave the terminal as it was found, with the bar as it stands."""
        self._closing.set()
        try:
            if self._ticking.ident is not None:
                self._ticking.join(CLOSE_S)  # not longer, for a disk that does not answer
                self._show("over")
        finally:
            self._quietly(self._screen.close)

    def _tick(self) -> None:
        while not self._closing.is_set():
            self._read_logs()
            self._show()
            self._closing.wait(TICK_S)

    def _read_logs(self) -> None:
        """Read the progress of some of the attempts that are shown, in turn."""
        with self._lock:
            shown = list(self._running_attempts.values())[: self._screen.console.height]
        for attempt in sorted(shown, key=lambda each: each.read)[:MOST_READS]:
            attempt.read_log()

    def _show(self, phase: Phase = "going on") -> None:
        if phase == "going on" and os.path.lexists(self._plan.cancelled):
            phase = "stopping"
        with self._lock:
            state = self._state(phase)
        size, encoding = self._screen.console.size, self._screen.console.encoding
        lines = draw(state, size.width, size.height, encoding)
        self._quietly(lambda: self._screen.show(lines))

    def _show_progress(self, scene: ScenePlan) -> None:
        """Print no progress lines: the live part has them."""

    def _quietly(self, write: Callable[[], None]) -> None:
        """Draw; once the terminal is gone, discard the drawing instead of failing."""
        try:
            write()
        except (OSError, ValueError):
            silence(cast("TextIO", self._screen.console.file))

    def _state(self, phase: Phase) -> LiveState:
        attempts = self._running_attempts.values()
        return LiveState(
            title=self._plan.exp_name,
            total=self._total,
            ended=Counter(outcome.status for outcome in self._ended.values()),
            running=[attempt.shown() for attempt in attempts],
            elapsed_s=time.monotonic() - self._begun_at,
            left_s=self._seconds_left(),
            begun=sum(attempt.fraction for attempt in attempts),
            phase=phase,
        )

    def _seconds_left(self) -> float | None:
        """Return the estimate; made at most once in a tick, since it looks at all scenes."""
        if time.monotonic() >= self._estimated_at + TICK_S or len(self._plan.scenes) <= FEW:
            at_once = self._plan.slurm.parallelism if self._plan.slurm else self._plan.workers
            self._left_s = seconds_left(map(self._scene_state, self._plan.of("run")), at_once)
            self._estimated_at = time.monotonic()
        return self._left_s

    def _scene_state(self, scene: ScenePlan) -> SceneState:
        outcome, attempt = self._ended.get(scene.name), self._running_attempts.get(scene.name)
        known = SceneState(scene.name, "queued", Path(), expected_s=scene.expected_s)
        if attempt:
            return replace(
                known, state="running", elapsed_s=attempt.elapsed_s, left_s=attempt.left_s()
            )
        if outcome:
            state: State = "done" if outcome.status == "done" else "failed"
            return replace(known, state=state, elapsed_s=outcome.seconds)
        return known
