"""The one retry policy, with at most two retries."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.records.outcome import Outcome
from training.records.record import Cause
from training.records.retry_policy import should_retry


@pytest.mark.parametrize(
    ("cause", "attempts", "has_checkpoint", "expected"),
    [
        (Cause.WORKER_LOST, 1, False, True),
        (Cause.PREEMPTED, 2, False, True),
        (Cause.NODE_FAILURE, 3, True, False),
        (Cause.TIMEOUT, 1, True, True),
        (Cause.TIMEOUT, 1, False, False),
        (Cause.TRAINER_ERROR, 1, True, False),
        (Cause.CONFIG, 1, True, False),
        (Cause.NO_OUTPUT, 1, True, False),
        (Cause.OUT_OF_MEMORY, 1, True, False),
        (Cause.CANCELLED, 1, True, False),
        (None, 1, True, False),
    ],
)
def test_only_what_is_not_the_trainings_fault_is_retried(cause, attempts, has_checkpoint, expected):
    """What another machine may finish, and a timeout that can continue from its checkpoint."""
    outcome = Outcome(
        scene="a", status="failed", cause=cause, log=Path("l"), has_checkpoint=has_checkpoint
    )
    assert should_retry(outcome, attempts, max_retries=2) is expected


@pytest.mark.parametrize(("attempts", "more", "expected"), [(1, True, True), (3, True, False)])
def test_out_of_memory_is_retried_only_with_more_memory(attempts, more, expected):
    """As after a GPU that was shared, and as often as other causes."""
    outcome = Outcome(scene="a", status="failed", cause=Cause.OUT_OF_MEMORY, log=Path("l"))
    assert should_retry(outcome, attempts, 2, has_more_memory=more) is expected
    lost = outcome.model_copy(update={"cause": Cause.TRAINER_ERROR})
    assert not should_retry(lost, attempts, 2, has_more_memory=more)
