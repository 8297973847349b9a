"""What a launch says on the terminal: plain lines, which also read well in a file.

On a terminal that can move its cursor, `training.display.live` adds a live part below them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from training.plan.model import ScenePlan
from training.records.outcome import Outcome
from training.slurm.job_states import JobLocation
from training.system.colours import painted
from training.system.console import say
from training.system.scene_log import LogFollower, last_lines, latest_progress, progress_text

PROGRESS_EVERY_S = 10.0
FAILURE_LINES = 5


class Viewer(Protocol):
    """Shows the scenes of one launch; any thread may report their starts and ends to it."""

    def started(self, scene: ScenePlan, attempt: int, location: JobLocation | None = None) -> None:
        """Show that an attempt has started, in a Slurm job or (None) on this machine."""

    def ended(self, scene: ScenePlan, outcome: Outcome, *, will_retry: bool) -> None:
        """Show how an attempt has ended, and whether the scene will be started again."""

    def say(self, text: str) -> None:
        """Say why scenes wait, or what is done about them."""

    def refresh(self) -> None:
        """Show what has changed meanwhile; called about once a second."""


class Notices:
    """Passes each text on once, whoever has it to say; any thread may."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._said = {""}

    def tell(self, text: str) -> None:
        """Say it, unless it is empty or was said."""
        with self._lock:
            is_news = text not in self._said
            self._said.add(text)
        if is_news:
            self._say(text)


class Lines:
    """A viewer that prints lines; of a single scene the whole log."""

    is_live = False
    """Whether a part of the terminal is redrawn."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = 0
        self._lock = threading.Lock()
        self._running: dict[str, ScenePlan] = {}
        self._followers: dict[str, LogFollower] = {}
        self._shown: dict[str, tuple[float, str]] = {}

    def say(self, text: str) -> None:
        """Print one or more whole lines."""
        with self._lock:
            say(text)

    def started(self, scene: ScenePlan, attempt: int, location: JobLocation | None = None) -> None:
        """Show that an attempt has started, in a Slurm job or (None) on this machine."""
        with self._lock:
            self._started += attempt == 1
            self._running[scene.name] = scene
            self._shown[scene.name] = (time.monotonic(), "")
            if self._total == 1:
                self._followers[scene.name] = LogFollower(scene.log)
            number = f", attempt {attempt}" if attempt > 1 else ""
            place = f" in {location}" if location else ""
            count = f"[{self._started}/{self._total}]"
            say(f"{count} {scene.name}: started{number}{place}, log {scene.log}")

    def ended(self, scene: ScenePlan, outcome: Outcome, *, will_retry: bool) -> None:
        """Show how an attempt has ended, with the log's last lines if it failed."""
        self.refresh()
        with self._lock:
            self._running.pop(scene.name, None)
            psnr = outcome.metrics.get("psnr") if outcome.status == "done" else None
            result = f", PSNR {psnr:.2f} dB" if isinstance(psnr, float) else ""
            next_ = ", will be retried" if will_retry else ""
            what = painted(outcome.what, outcome.status)
            said = f"{outcome.scene} {what}{outcome.where_and_why}{result}"
            say(f"{said}{_durations(outcome)}{next_}")
            if outcome.status == "failed" and self._total > 1:
                say("".join(f"    | {line}\n" for line in last_lines(scene.log, FAILURE_LINES)))
            if outcome.status == "failed":
                say(f"    log: {outcome.log}")

    def refresh(self) -> None:
        """Show what is new in the logs of running scenes."""
        with self._lock:
            for scene in self._running.values():
                self._show_progress(scene)
                follower = self._followers.get(scene.name)
                if follower and (news := follower.new_lines()):
                    say(news)

    def close(self) -> None:
        """Leave the terminal as it was found."""

    def _show_progress(self, scene: ScenePlan) -> None:
        since, shown = self._shown[scene.name]
        if time.monotonic() - since < PROGRESS_EVERY_S:
            return
        progress = latest_progress(scene.log)
        text = progress_text(progress) if progress else ""
        if text and text != shown:
            say(f"{scene.name}: {text}")
            self._shown[scene.name] = (time.monotonic(), text)


def _durations(outcome: Outcome) -> str:
    """Return ` after` the seconds of this attempt and, where there were others, of all.

    Empty where nothing ran: a scene that another run holds, or that was cancelled before its start.
    """
    if not outcome.attempt_s:
        return ""
    this = f" after {outcome.attempt_s:.0f} s"
    if outcome.attempts <= 1:
        return this
    return f"{this}, {outcome.seconds:.0f} s in {outcome.attempts} attempts"
