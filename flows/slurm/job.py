"""A Slurm job as a flow's pool holds it, and how many of them a pool may have."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from training.slurm.job_states import JobLocation

State = Literal["queued", "free", "busy", "adopted", "leaving", "lost"]
"""`adopted`: it trains a scene that a flow which has died had begun; it has no worker of ours."""


def name_of_adopted(job_id: str) -> str:
    """Return the name by which the worker of an adopted job joins, once its scene has ended."""
    return f"job{job_id}"


@dataclass(frozen=True)
class PoolLimits:
    """How many jobs a pool may have, and for how long."""

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


@dataclass(eq=False)
class Job:
    """One Slurm job with one Dask worker, which runs one scene after another."""

    name: str
    """The worker's."""
    scenes_left: int
    since: float
    """When it came to its state."""
    job_id: str = ""
    """Empty until Slurm has taken the job."""
    state: State = "queued"
    address: str = ""
    """The worker's."""
    node: str = ""
    ends_at: float = 0.0
    """When its walltime is over."""
    cancelled: bool = False
    """By this pool, so that Slurm's answer how it ended says nothing about its scene."""
    may_join: bool = False
    """Whether it is adopted, its scene has ended, and its worker is welcome."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set once its worker has left, or Slurm's queue does not show the job any more."""

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

    def move_to(self, state: State, now: float) -> None:
        """Change its state."""
        self.state, self.since = state, now
