"""The one retry policy: whether a scene is started again, by how its last attempt ended."""

from __future__ import annotations

from training.records.record import Cause

ELSEWHERE = frozenset({Cause.PREEMPTED, Cause.NODE_FAILURE, Cause.WORKER_LOST})
"""Causes that say nothing against the training itself: another machine may finish it."""


def should_retry(cause: Cause, attempts: int, max_retries: int, has_checkpoint: bool) -> bool:
    """Return whether a scene whose attempt number `attempts` of this run ended so starts again.

    A timeout continues from its checkpoint; without one it would only spend the same time again.
    """
    if attempts > max_retries:
        return False
    return cause in ELSEWHERE or (cause is Cause.TIMEOUT and has_checkpoint)
