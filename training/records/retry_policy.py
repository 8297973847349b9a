"""The one retry policy: whether a scene is started again, by how its last attempt ended."""

from __future__ import annotations

from training.records.outcome import Outcome
from training.records.record import Cause

ELSEWHERE = frozenset({Cause.PREEMPTED, Cause.NODE_FAILURE, Cause.WORKER_LOST})
"""Causes that say nothing against the training itself: another machine may finish it."""


def should_retry(
    outcome: Outcome, attempts: int, max_retries: int, *, has_more_memory: bool = False
) -> bool:
    """Return whether a scene starts again after its attempt number `attempts` of this run.

    Called once, where the attempt's end is seen; displays get the decision with the event. A
    timeout continues from its checkpoint; without one it would only spend the same time again.
    `has_more_memory`: the next attempt has a GPU alone that this one shared.
    """
    resumes = outcome.cause is Cause.TIMEOUT and outcome.has_checkpoint
    fits = outcome.cause is Cause.OUT_OF_MEMORY and has_more_memory
    return attempts <= max_retries and (outcome.cause in ELSEWHERE or resumes or fits)


def should_aggregate_again(cause: Cause | None, attempts: int, max_retries: int) -> bool:
    """Return whether an aggregate starts again after its attempt number `attempts`: as a scene.

    It has no checkpoint. `cause`: None where it was not started.
    """
    return attempts <= max_retries and cause in ELSEWHERE
