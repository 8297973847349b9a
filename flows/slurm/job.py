"""A Slurm job as a flow holds it, what jobs are asked for, and the error when none can be had."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from training.slurm.job_states import JobLocation

State = Literal["queued", "free", "busy", "leaving", "lost"]


@dataclass
class Job:
    """One Slurm job with one Dask worker, which is lent to one scene after another."""

    name: str
    scenes_left: int
    job_id: str = ""
    state: State = "queued"
    since: float = field(init=False)
    """When it came to this state."""
    address: str = ""
    node: str = ""
    ends_at: float = 0.0
    cancelled: bool = False
    """By us, so that Slurm's word for its end means nothing."""
    lost: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.go_to(self.state)

    def __str__(self) -> str:
        return str(self.location)

    @property
    def location(self) -> JobLocation:
        """The job's id and node, for messages and displays."""
        return JobLocation(self.job_id, self.node)

    def go_to(self, state: State) -> None:
        """Change its state."""
        self.state, self.since = state, time.monotonic()


@dataclass(frozen=True)
class PoolLimits:
    """What jobs are asked for."""

    command: Callable[[str, Sequence[str]], Sequence[str]]
    """The `sbatch` line of a worker's name, not on these nodes."""
    prefix: str
    max_jobs: int
    scenes_per_job: int
    walltime_s: float
    min_remaining_s: float
    """A job with less time left gets no further scene."""
    exit_grace_s: float
    """A job whose worker left so long ago is cancelled: nothing of it may go on."""
    last_words: Callable[[Sequence[str]], str]
    """What the logs of jobs, by their ids, say."""
