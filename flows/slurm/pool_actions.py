"""What a pool of jobs asks Slurm next, and what it is to do: decided by `pool_state`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from training.slurm.client import SlurmError


@dataclass(frozen=True)
class Query:
    """The next question to Slurm: how these jobs ended, or, where there are none, its queue."""

    ended_jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actions:
    """What is to be done next, in the order of the fields."""

    drop: tuple[str, ...] = ()
    """Worker names: these workers close, and Dask forgets their jobs."""
    cancel: tuple[str, ...] = ()
    """Ids of Slurm jobs."""
    notice: tuple[str, str] | None = None
    """Kind and text of a message for the user."""
    submit: tuple[str, ...] = ()
    """Worker names, each of which gets a job."""
    exclude: tuple[str, ...] = ()
    """Nodes that those jobs must not run on."""


class Submission(Protocol):
    """What became of a job that was submitted."""

    job_id: str
    refusal: SlurmError | None
