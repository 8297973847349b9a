"""When to query Slurm and to repeat a message, and the queue of a flow's jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from preprocess.faults import counted
from training.slurm.job_states import JobEnd
from training.slurm.parsers import QueuedJob

QUERY_S = 2.0
SLOW_QUERY_S = 15.0
NEWS_S = 30.0
"""For so long after the last change the queue is queried every QUERY_S, then every SLOW_QUERY_S."""
REPEAT_S = 600.0


class Slurm(Protocol):
    """What is asked of Slurm: the module `training.slurm.client`, or a test's stand-in."""

    def my_jobs(self) -> list[QueuedJob]:
        """Return the jobs in the queue."""
        ...

    def job_ends(self, job_ids: Collection[str]) -> Mapping[str, JobEnd]:
        """Return how jobs ended, by id, as far as Slurm knows it."""
        ...

    def cancel(self, job_ids: Collection[str]) -> None:
        """Cancel jobs."""
        ...


@dataclass
class PollThrottle:
    """When Slurm was asked last, and so when it may be asked again."""

    asked_at: float = float("-inf")
    news_at: float = float("-inf")

    def is_due(self, now: float, *, urgent: bool) -> bool:
        """Return whether Slurm may be asked, which then counts as asked.

        Every 2 s where it is urgent or there was news lately, else every 15 s.
        """
        quick = urgent or now - self.news_at < NEWS_S
        if now - self.asked_at < (QUERY_S if quick else SLOW_QUERY_S):
            return False
        self.asked_at = now
        return True


class ThrottledMessages:
    """Passes messages on, of each kind only new ones and at most one in ten minutes."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._last: dict[str, tuple[str, float]] = {}

    def __call__(self, kind: str, text: str) -> None:
        """Pass a message on unless it repeats the last one of its kind or follows it too soon."""
        last, said_at = self._last.get(kind, ("", float("-inf")))
        if text != last and self._clock() - said_at > REPEAT_S:
            self._last[kind] = (text, self._clock())
            self._say(text)


def jobs_in_queue(rows: Iterable[QueuedJob]) -> dict[str, QueuedJob]:
    """Return the jobs, by id, that wait or run; one that is completing does neither any more."""
    return {row.job_id: row for row in rows if not row.is_over}


def pending_summary(jobs: Iterable[QueuedJob]) -> str:
    """Return `3 jobs in Slurm's queue (Priority, Resources)`; empty when no job is pending."""
    pending = [job for job in jobs if job.state == "PENDING"]
    if not pending:
        return ""
    reasons = ", ".join(sorted({job.reason for job in pending if job.reason not in ("", "None")}))
    count = f"{counted(len(pending), 'job')} in Slurm's queue"
    return f"{count} ({reasons})" if reasons else count
