"""What is said of an attempt that has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.records.outcome import Outcome
from training.records.record import Cause


@pytest.mark.parametrize(
    ("status", "cause", "said"),
    [
        ("done", Cause.OK, "done"),
        ("failed", Cause.TIMEOUT, "failed (timeout)"),
        ("cancelled", Cause.CANCELLED, "cancelled"),
        ("held", None, "held"),
    ],
)
def test_a_cause_is_said_where_the_status_does_not_say_it(status, cause, said):
    """`cancelled (cancelled)` would tell nothing."""
    assert Outcome(scene="a", status=status, cause=cause, log=Path("l")).what == said
