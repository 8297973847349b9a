"""Compute when and where scenes waited and ran: attempts from the records, waits from the plans."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Literal

from training.plan.model import Plan
from training.records.record import Attempt, Cause, now
from training.records.retry_policy import ELSEWHERE
from training.report.scene_rows import Row

Kind = Literal["done", "failed", "interrupted", "cancelled", "running"]
INTERRUPTIONS = ELSEWHERE | {Cause.TIMEOUT}
LONGEST_IDLE = 0.25
"""Idle time longer than this fraction of the busy time is cut out of the chart."""
CUT_WIDTH = 0.02
"""Width of such a cut in the chart, as a fraction of the busy time."""


@dataclass(frozen=True)
class Span:
    """One attempt and the wait before it."""

    scene: str
    host: str
    job_id: str
    queued: datetime | None
    """When the wait began: plan's creation or end of the attempt before; None: unknown."""
    start: datetime
    end: datetime
    kind: Kind
    gpu: str = ""
    """The GPU that it was pinned to; empty where the job or CUDA decided."""

    @property
    def begin(self) -> datetime:
        """When the wait began, or the attempt where no wait is known."""
        return self.queued or self.start

    @property
    def wait_s(self) -> float | None:
        """Seconds that the scene waited; None where that is unknown."""
        return (self.start - self.queued).total_seconds() if self.queued else None


def spans_of(rows: Iterable[Row], plans: Sequence[Plan]) -> list[Span]:
    """Return all attempts of all scenes."""
    created: dict[str, list[datetime]] = {}
    for plan in plans:
        for scene in plan.of("run"):
            created.setdefault(scene.name, []).append(plan.created)
    return [span for row in rows for span in _spans(row, sorted(created.get(row.scene, [])))]


def longest_and_median_wait(spans: Iterable[Span]) -> tuple[float, float] | None:
    """Return the longest and the median wait in seconds; None where no wait is known."""
    waits = [span.wait_s for span in spans if span.wait_s is not None]
    return (max(waits), median(waits)) if waits else None


def _spans(row: Row, created: Sequence[datetime]) -> list[Span]:
    spans: list[Span] = []
    for number, attempt in enumerate(row.attempts):
        before = spans[-1].end if spans else None
        end = attempt.end or _open_end(row, attempt, is_last=number == len(row.attempts) - 1)
        spans.append(
            Span(
                scene=row.scene,
                host=attempt.host,
                job_id=attempt.slurm_job_id,
                queued=_queued(attempt.start, before, created),
                start=attempt.start,
                end=max(end, attempt.start),
                kind=_kind(attempt, row, is_open=attempt.end is None),
                gpu=attempt.gpu,
            )
        )
    return spans


def _queued(
    start: datetime, before: datetime | None, created: Sequence[datetime]
) -> datetime | None:
    plan = next((each for each in reversed(created) if each <= start), None)
    if plan is None:
        return None
    return max(plan, before) if before and before <= start else plan


def _open_end(row: Row, attempt: Attempt, *, is_last: bool) -> datetime:
    """Return the end to show for an attempt without one: a killed one has no known length."""
    return now() if is_last and row.state == "running" else attempt.start


def _kind(attempt: Attempt, row: Row, *, is_open: bool) -> Kind:
    if is_open:
        return "running" if row.state == "running" else "failed"
    if attempt.cause is Cause.OK:
        return "done"
    if attempt.cause is Cause.CANCELLED:
        return "cancelled"
    return "interrupted" if attempt.cause in INTERRUPTIONS else "failed"


@dataclass(frozen=True)
class Clock:
    """Maps moments to seconds since the beginning, long idle times left out."""

    begins: tuple[datetime, ...]
    """When each busy period begins."""
    shown: tuple[float, ...]
    """Where each of them is shown, in seconds."""
    cuts: tuple[tuple[float, float], ...]
    """Where idle time was cut out, and how many seconds of it."""

    @classmethod
    def of(cls, spans: Sequence[Span]) -> Clock:
        """Return the clock of these attempts, of which there must be at least one."""
        busy = _busy(spans)
        total = sum((end - begin).total_seconds() for begin, end in busy)
        begins, shown, cuts = [busy[0][0]], [0.0], []
        for (_, end), (begin, _) in pairwise(busy):
            idle = (begin - end).total_seconds()
            at = shown[-1] + (end - begins[-1]).total_seconds()
            if idle <= LONGEST_IDLE * total:
                continue
            cuts.append((at + CUT_WIDTH * total / 2, idle))
            begins.append(begin)
            shown.append(at + CUT_WIDTH * total)
        return cls(tuple(begins), tuple(shown), tuple(cuts))

    def at(self, moment: datetime) -> float:
        """Return where a moment is shown, in seconds."""
        place = max(0, bisect_right(self.begins, moment) - 1)
        return self.shown[place] + (moment - self.begins[place]).total_seconds()


def _busy(spans: Sequence[Span]) -> list[tuple[datetime, datetime]]:
    """Return the periods in which something waits or runs."""
    merged: list[tuple[datetime, datetime]] = []
    for begin, end in sorted((span.begin, span.end) for span in spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged
