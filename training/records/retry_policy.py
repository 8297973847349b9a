"""The one retry policy: what to do after a start ended, by its cause."""

from __future__ import annotations

from training.records.record import Cause

ELSEWHERE = frozenset({Cause.PREEMPTED, Cause.NODE_FAILURE, Cause.WORKER_LOST})
"""Not the training's fault."""


def should_retry(cause: Cause, starts: int, max_retries: int, has_checkpoint: bool) -> bool:
    """Whether a scene that ended by `cause`, at its `starts`-th start in this run, starts again.

    A timeout goes on from its checkpoint; without one it would only spend the same time again.
    """
    if starts > max_retries:
        return False
    return cause in ELSEWHERE or (cause is Cause.TIMEOUT and has_checkpoint)
