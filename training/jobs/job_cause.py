"""Translate the state in which a Slurm job ended into the cause of the attempt that ran in it."""

from __future__ import annotations

from training.records.record import Cause
from training.slurm.job_states import NODE_LOST, JobEnd

SLURM_SAYS = "Slurm: "
"""Beginning of an attempt's message when its cause comes from Slurm."""
CAUSES = {
    "TIMEOUT": Cause.TIMEOUT,
    "DEADLINE": Cause.TIMEOUT,
    "PREEMPTED": Cause.PREEMPTED,
    "OUT_OF_MEMORY": Cause.OUT_OF_MEMORY,
    "CANCELLED": Cause.CANCELLED,
    **dict.fromkeys(NODE_LOST, Cause.NODE_FAILURE),
}
"""By the job's state. The others, COMPLETED and FAILED among them, say nothing about a scene."""


def cause_of_job(end: JobEnd) -> tuple[Cause | None, str]:
    """Return the cause that a job's end means, None where it means none, and a sentence."""
    return CAUSES.get(end.state), f"{SLURM_SAYS}{end}"
