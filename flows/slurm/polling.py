"""What a pool of jobs asks Slurm: one query at a time, seldom, whatever the number of jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from training.slurm import client
from training.slurm.client import QueuedJob

QUERY_S = 2.0
SLOW_QUERY_S = 15.0
NEWS_S = 30.0
"""Until so long after the last news the queue is asked at the quick pace."""
TELL_S = 600.0
ENDED = frozenset({"COMPLETING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL"})


class Slurm:
    """The questions; a class, so that a test can answer them."""

    my_jobs = staticmethod(client.my_jobs)
    job_ends = staticmethod(client.job_ends)
    cancel = staticmethod(client.cancel)


@dataclass
class PollThrottle:
    """When Slurm may be asked again."""

    asked: float = float("-inf")
    news: float = float("-inf")

    def is_due(self, *, urgent: bool) -> bool:
        """Whether enough time has passed, which then counts as asked; the queue alone can wait."""
        now = time.monotonic()
        quick = urgent or now - self.news < NEWS_S
        if now - self.asked < (QUERY_S if quick else SLOW_QUERY_S):
            return False
        self.asked = now
        return True


class ThrottledMessages:
    """Says what is new of a kind, and not too often."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told: dict[str, tuple[str, float]] = {}

    def __call__(self, kind: str, text: str) -> None:
        """Say it, unless it is empty, was the last of its kind, or that was said lately."""
        told, when = self._told.get(kind, ("", float("-inf")))
        if text and text != told and time.monotonic() - when > TELL_S:
            self._told[kind] = (text, time.monotonic())
            self._say(text)


def jobs_in_queue(rows: Iterable[QueuedJob]) -> dict[str, QueuedJob]:
    """Jobs, by id, that are queued or hold their nodes."""
    return {row.job_id: row for row in rows if row.state not in ENDED}


def waiting_for(rows: Iterable[QueuedJob]) -> str:
    """`3 jobs wait in Slurm's queue (Resources, Priority)`; empty when none does."""
    pending = [row for row in rows if row.state == "PENDING"]
    reasons = ", ".join(sorted({row.reason for row in pending if row.reason not in ("", "None")}))
    counted = f"{len(pending)} job{'s'[: len(pending) != 1]} in Slurm's queue"
    return (f"{counted} ({reasons})" if reasons else counted) if pending else ""
