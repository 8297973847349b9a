"""What a soak's figures mean, and that its own injector and log work: no faults are done here."""

from __future__ import annotations

import json

import pytest

from tests.faults.soak.verdict import complaints, growth, judge, running_pids


def line(what: str, scene: str, pid: int = 1) -> dict[str, object]:
    return {"what": what, "scene": scene, "pid": pid}


def test_the_trainers_log_tells_lost_doubled_and_trained_again():
    """Each by its scene."""
    lines = [line("began", "a"), line("ended", "a"), line("began", "a"), line("doubled", "b")]
    trained = judge([*lines, line("began", "c")], ["a", "b", "c"])
    assert (trained.starts, trained.again, trained.doubled) == (3, 1, ("b",))
    assert trained.never_ended == ("b", "c")


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([1.0] * 10, 1.0), ([100.0] * 80, 1.0), ([100.0] * 60 + [150.0] * 20, 1.5)],
)
def test_memory_is_judged_by_the_second_half(samples, expected):
    """The start does not count, nor a run that was short."""
    assert growth(samples) == expected


def test_each_promise_that_is_not_kept_is_a_sentence():
    """Nothing is said where all are kept."""
    kept = judge([line("began", "a"), line("ended", "a")], ["a"])
    assert not complaints(kept, [], [], 1.0)
    broken = judge([line("doubled", "a")], ["a"])
    said = "; ".join(complaints(broken, ["a"], ["process 7"], 2.0))
    for words in ("never done: a", "twice at the same time: a", "behind: process 7", "2.00 times"):
        assert words in said


def test_who_trains_now_is_read_from_the_logs_end(tmp_path):
    """A line that was cut in the middle is passed over."""
    path = tmp_path / "log.jsonl"
    assert running_pids(path) == []
    lines = [line("began", "a", 1), line("ended", "a", 1), line("began", "b", 2)]
    path.write_text('ope", "scene"}\n' + "".join(json.dumps(each) + "\n" for each in lines))
    assert running_pids(path) == [2]
