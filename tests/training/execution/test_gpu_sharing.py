"""How many scenes share a GPU after one of them has run out of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.execution.gpu_sharing import GpuSharing, halved
from training.records.outcome import Outcome
from training.records.record import Cause


def end(scene: str, cause=Cause.OUT_OF_MEMORY) -> Outcome:
    return Outcome(scene=scene, status="failed", cause=cause, log=Path("log"))


@pytest.mark.parametrize(
    ("bound", "ran_under", "expected"),
    [(8, 8, 4), (4, 8, 4), (5, 5, 2), (2, 2, 1), (1, 2, 1), (1, 1, 1), (2, 8, 2)],
)
def test_the_bound_is_halved_once_for_scenes_that_run_out_together(bound, ran_under, expected):
    assert halved(bound, ran_under) == expected


def test_what_ran_out_is_alone_and_what_is_left_shares_with_half_as_many():
    """Two of four scenes run out together; a third fails for a reason of its own."""
    said = []
    sharing = GpuSharing(4, said.append)
    for scene in ("a", "b", "c"):
        sharing.started(scene, sharing.bound_of(scene))
        assert sharing.has_more_memory(scene)
    sharing.note_end(end("a"))
    assert (sharing.bound_of("a"), sharing.bound_of("d")) == (1, 2), "before anything is said"
    sharing.tell_end(end("a"), will_retry=True)
    sharing.tell_end(end("b"), will_retry=False)
    sharing.tell_end(end("c", Cause.TRAINER_ERROR), will_retry=False)
    assert [sharing.bound_of(scene) for scene in "abcd"] == [1, 1, 2, 2]
    both = "ran out of memory beside up to 3 other scenes on its GPU"
    left = "what is left runs at most 2 at once on a GPU"
    assert said == [f"a {both} and is tried again alone; {left}", f"b {both}; {left}"]
    sharing.started("a", 1)
    assert not sharing.has_more_memory("a")
    sharing.tell_end(end("a"), will_retry=False)
    assert (sharing.bound, len(said)) == (2, 2)
