"""What Slurm's word for the end of a job means for the scene that ran in it."""

from __future__ import annotations

from training.records.record import Cause
from training.slurm.job_states import NODE_LOST, JobEnd

SLURM_SAYS = "Slurm: "
"""How the message of a cause that Slurm was asked about begins."""


CAUSES = {
    "TIMEOUT": Cause.TIMEOUT,
    "DEADLINE": Cause.TIMEOUT,
    "PREEMPTED": Cause.PREEMPTED,
    "OUT_OF_MEMORY": Cause.OUT_OF_MEMORY,
    "CANCELLED": Cause.CANCELLED,
    **dict.fromkeys(NODE_LOST, Cause.NODE_FAILURE),
}
"""What a state says by itself; all others are no verdict about a scene."""


def cause_of_job(end: JobEnd) -> tuple[Cause | None, str]:
    """What a job's end says by itself: a cause, or None where it is no verdict, and a sentence."""
    return CAUSES.get(end.state), f"{SLURM_SAYS}{end}"
