"""How a scene stands at one moment, by its record and by who holds its claim.

The only place for two rules: a record that says running without a living holder is of an attempt
that was killed; and a scene has ended since a moment when its last attempt began after it and is
over. The functions on records are pure; `living_holder` alone looks at the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeGuard

from preprocess.faults import counted
from training.records.claim import Holder, holder_of
from training.records.record import Attempt, RunRecord

State = Literal["running", "queued", "failed", "cancelled", "not started", "done"]
KILLED = "killed"
"""Cause of an attempt that left no end in its record."""
UNREADABLE = "unreadable record"


def living_holder(output: Path, record: RunRecord | None) -> Holder | None:
    """Return the process that runs the attempt which a record calls running; None without one.

    The claim is read only for a record that says running. Raises RecordError when it can't be.
    """
    return holder_of(output) if _says_running(record) else None


def is_running(record: RunRecord | None, holder: Holder | None) -> TypeGuard[RunRecord]:
    """Return whether the record says running and its claim has a living holder."""
    return _says_running(record) and holder is not None


def was_killed(record: RunRecord | None, holder: Holder | None) -> bool:
    """Return whether the record says running though no living process holds its claim."""
    return _says_running(record) and holder is None


def attempts_since(record: RunRecord | None, moment: datetime) -> int:
    """Return how many of a record's attempts began at that moment or later."""
    return sum(began_since(attempt, moment) for attempt in record.attempts) if record else 0


def began_since(attempt: Attempt | None, moment: datetime) -> bool:
    """Return whether there is such an attempt and it began at that moment or later."""
    return attempt is not None and attempt.start >= moment


def has_ended_since(record: RunRecord | None, moment: datetime) -> bool:
    """Return whether the last attempt began at that moment or later and has ended."""
    if record is None or record.status == "running":
        return False
    return began_since(record.last, moment)


def has_failed_since(record: RunRecord | None, moment: datetime) -> bool:
    """Return whether the last attempt began at that moment or later and has failed."""
    return record is not None and record.status == "failed" and has_ended_since(record, moment)


@dataclass(frozen=True)
class SceneState:
    """One scene of an experiment, for the tables of terminal, run page and report."""

    scene: str
    state: State
    log: Path
    cause: str = ""
    """Why it failed; of a queued scene Slurm's reason."""
    attempts: tuple[Attempt, ...] = ()
    """All attempts so far, the running one included."""
    node: str = ""
    job_id: str = ""
    elapsed_s: float | None = None
    """Seconds of the running attempt, else of all attempts; None before the first."""
    message: str = ""
    """How the last attempt ended, as a sentence."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """The running attempt's last progress line, see `training.system.scene_log`."""
    left_s: float | None = None
    """Seconds that the running attempt still takes, by its own progress; None if not known."""
    expected_s: float | None = None
    """Seconds that it takes by earlier experiments; None if not known."""

    @property
    def last_attempt_s(self) -> float | None:
        """Seconds of the last attempt, which may be running; None before the first."""
        if self.state == "running" or not self.attempts:
            return self.elapsed_s
        return _seconds(self.attempts[-1])

    @property
    def all_attempts_s(self) -> float:
        """Seconds of all attempts, the running one included."""
        running = (self.elapsed_s or 0.0) * (self.state == "running")
        return sum(map(_seconds, self.attempts)) + running


def recorded_state(
    scene: str, log: Path, record: RunRecord | None, holder: Holder | None
) -> SceneState:
    """Return how a scene stands by its record alone; `holder` is that of `living_holder`."""
    if record is None:
        return SceneState(scene, "not started", log)
    killed, last = was_killed(record, holder), record.last
    cause = KILLED if killed else record.cause if record.status == "failed" else None
    return SceneState(
        scene=scene,
        state="failed" if killed else record.status,
        log=log,
        cause=cause or "",
        attempts=record.attempts,
        node=last.host if last else "",
        job_id=last.slurm_job_id if last else "",
        elapsed_s=record.seconds if last else None,
        message=last.message if last else "",
    )


def code_versions(scenes: Iterable[SceneState]) -> list[str]:
    """Return the versions of the trainer's code that ran, newest first, with their scenes' counts.

    `88 scenes 3f2a9c1 (commit 55db034)`; a scene counts for each version that an attempt of it ran.
    """
    newest: dict[str, Attempt] = {}
    count: Counter[str] = Counter()
    for each in scenes:
        ran = {_digest_of(attempt): attempt for attempt in each.attempts if attempt.pid}
        count.update(ran.keys())
        for digest, attempt in ran.items():
            if digest not in newest or newest[digest].start < attempt.start:
                newest[digest] = attempt
    ordered = sorted(newest, key=lambda digest: newest[digest].start, reverse=True)
    return [
        f"{counted(count[digest], 'scene')} {_version_text(newest[digest])}" for digest in ordered
    ]


def _digest_of(attempt: Attempt) -> str:
    return attempt.code_version.digest if attempt.code_version else ""


def _version_text(attempt: Attempt) -> str:
    return str(attempt.code_version or "of a version that was not recorded")


def seconds_left(scenes: Iterable[SceneState], parallelism: int) -> float | None:
    """Estimate the seconds until all queued and running scenes are done.

    A running one by its own progress, else as queued ones: by its expected time, as much longer or
    shorter as the done ones took than theirs, else by the mean of the others. None where nothing is
    known of any, or none is queued or running.
    """
    scenes = list(scenes)
    running = [each for each in scenes if each.state == "running"]
    queued = [each for each in scenes if each.state == "queued"]
    took = [(each, each.elapsed_s) for each in scenes if each.state == "done" and each.elapsed_s]
    took += [(e, (e.elapsed_s or 0.0) + e.left_s) for e in running if e.left_s is not None]
    whole = _whole_times(took, [*running, *queued])
    if whole is None or not (running or queued):
        return None
    left = [_left(each, whole(each)) for each in running] + [whole(each) for each in queued]
    at_once = len(running) or min(parallelism, len(queued))
    return max(sum(left) / at_once, *left)


def _whole_times(
    took: Sequence[tuple[SceneState, float]], others: Iterable[SceneState]
) -> Callable[[SceneState], float] | None:
    """Return a function that estimates how long a scene takes in all; None if nothing is known.

    `took`: scenes with the seconds that they took or will have taken.
    """
    pairs = [(seconds, each.expected_s) for each, seconds in took if each.expected_s]
    factor = sum(real for real, _ in pairs) / sum(known for _, known in pairs) if pairs else 1.0
    known = [seconds for _, seconds in took]
    known = known or [each.expected_s for each in others if each.expected_s]
    if not known:
        return None
    mean = fmean(known)
    return lambda each: factor * each.expected_s if each.expected_s else mean


def _left(running: SceneState, whole_s: float) -> float:
    if running.left_s is not None:
        return running.left_s
    return max(0.0, whole_s - (running.elapsed_s or 0.0))


def _seconds(attempt: Attempt) -> float:
    """Return the seconds of an attempt that has ended; 0 while it runs."""
    return (attempt.end - attempt.start).total_seconds() if attempt.end else 0.0


def _says_running(record: RunRecord | None) -> bool:
    return record is not None and record.status == "running"
