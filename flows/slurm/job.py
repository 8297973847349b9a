"""A Slurm job as a flow's pool holds it, and how many of them a pool may have."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from training.slurm.job_states import JobLocation

State = Literal["queued", "free", "busy", "adopted", "leaving", "lost"]
"""`adopted`: it trains a scene that a flow which has died had begun; it has no worker of ours."""
UNSEEN_S = 2.0
"""A job younger than this may be missing from Slurm's answer."""
FIRST_SCENES_S = 10.0
"""Scenes that share a job's GPU count as started together when they come so soon after its first:
like that one, they take what time the job has."""


def name_of_adopted(job_id: str) -> str:
    """Return the name by which the worker of an adopted job joins, once its scene has ended."""
    return f"job{job_id}"


@dataclass(frozen=True)
class PoolLimits:
    """How many jobs a pool may have, for how many scenes, and for how long."""

    prefix: str
    """Worker names are this and a number."""
    max_jobs: int
    scenes_per_job: int
    walltime_s: float
    min_remaining_s: float
    """A job with less time left gets no further scene."""
    exit_grace_s: float
    """A job that goes on for so long after its worker has left is cancelled."""
    orphan_grace_s: float = 0.0
    """So much longer where the worker was lost: its scene may go on."""
    scenes_per_gpu: int = 1
    """How many scenes a job trains at once."""


@dataclass(eq=False)
class Job:
    """One Slurm job with one Dask worker, for scenes one after another or several at once."""

    name: str
    """The worker's."""
    scenes_left: int
    """How many it may still be given."""
    since: float
    """When it came to its state."""
    job_id: str = ""
    """Empty until Slurm has taken the job."""
    state: State = "queued"
    """`free` while it may be given another scene, `busy` while only those that it has run."""
    address: str = ""
    """The worker's."""
    node: str = ""
    ends_at: float = 0.0
    """When its walltime is over."""
    cancelled: bool = False
    """By this pool, so that Slurm's answer how it ended says nothing about its scene."""
    is_welcome: bool = True
    """Whether the worker of an adopted job may join when its scenes have ended: none was lost."""
    may_join: bool = False
    """Whether it is adopted, its scenes have ended, and its worker is awaited."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set once its worker has left, or Slurm's queue does not show the job any more."""
    running: int = 0
    """How many scenes it has."""
    bound: int = 0
    """How many it may have at once while it has some, by the least that one of them was told."""
    first_given_at: float = 0.0
    """When its first scene was given to it."""

    @classmethod
    def gone(cls, job_id: str) -> Job:
        """Return an adopted job that is not in Slurm's queue any more, of no pool."""
        job = cls(name_of_adopted(job_id), 0, 0.0, job_id, "lost")
        job.lost.set()
        return job

    def __str__(self) -> str:
        return str(self.location)

    @property
    def location(self) -> JobLocation:
        """The job's id and node, for messages and displays."""
        return JobLocation(self.job_id, self.node)

    @property
    def has_worker(self) -> bool:
        """Whether its worker is there, with a scene or without."""
        return self.state in {"free", "busy"}

    def room(self, bound: int) -> int:
        """Return how many more scenes it may be given, of those that allow so many at once."""
        if self.state != "free":
            return 0
        at_once = min(bound, self.bound) if self.running else bound
        return max(0, min(at_once - self.running, self.scenes_left))

    def has_place(self, limits: PoolLimits, now: float) -> bool:
        """Return whether it can hold a further scene."""
        return self.scenes_left > 0 and self.has_time(limits, now)

    def has_time(self, limits: PoolLimits, now: float) -> bool:
        """Return whether it has time for a whole scene.

        A new one that has too little when its worker joins is the best that can be had.
        """
        needed_s, given = limits.min_remaining_s, limits.scenes_per_job - self.scenes_left
        if given == 0:
            joined = self.since if self.state == "free" else now
            if self.ends_at - joined < needed_s:
                return True
        elif given < limits.scenes_per_gpu and now - self.first_given_at <= FIRST_SCENES_S:
            return True
        return self.ends_at - now >= needed_s

    def is_overdue(self, limits: PoolLimits, now: float) -> bool:
        """Return whether it still runs although its worker left long ago."""
        is_ending = self.state in {"lost", "leaving"} and bool(self.job_id)
        may_go_on = limits.orphan_grace_s if self.state == "lost" else 0.0
        return is_ending and now - self.since > limits.exit_grace_s + may_go_on

    def is_gone(self, queue: Collection[str], now: float) -> bool:
        """Return whether it has left Slurm's queue; one just submitted may not be in it yet."""
        if not self.job_id or self.job_id in queue:
            return False
        return self.state != "queued" or now - self.since > UNSEEN_S

    def give(self, bound: int, now: float) -> None:
        """Give it a scene that allows so many at once."""
        self.bound = min(bound, self.bound) if self.running else bound
        self.running += 1
        self.scenes_left -= 1
        self.move_to("free" if self.room(self.bound) else "busy", now)

    def move_to(self, state: State, now: float) -> None:
        """Change its state."""
        self.state, self.since = state, now
