"""Reading a log while it is written."""

from __future__ import annotations

from training.system.scene_log import (
    MOST_AT_ONCE,
    LogFollower,
    last_lines,
    latest_progress,
    progress_fraction,
    progress_text,
)


def test_progress_is_the_last_whole_line_of_this_attempt(tmp_path):
    """A half-written line is not read, nor one of an earlier attempt."""
    log = tmp_path / "train.log"
    log.write_text('=== attempt 1\nTS_PROGRESS {"epoch": 9}\n')
    assert latest_progress(log) == {"epoch": 9}
    log.write_text(log.read_text() + "=== attempt 2\nhello\n")
    assert latest_progress(log) is None
    log.write_text(log.read_text() + 'TS_PROGRESS {"epoch": 1, "loss": 0.25}\nTS_PROGRESS {"ep')
    assert progress_text(latest_progress(log)) == "epoch 1, loss 0.25"


def test_progress_of_whatever_a_trainer_counts():
    """Epochs, or the samples of a data set; how much is behind, where it says so."""
    samples = {"samples": 24, "dropped": 0, "of": 96}
    assert progress_text(samples) == "sample 24/96"
    assert progress_fraction(samples) == 0.25
    assert progress_fraction({"epoch": 3, "epochs": 4}) == 0.75
    unknown = ({}, {"epoch": 3}, {"epoch": "x", "epochs": 4}, {"epoch": 1, "epochs": 0})
    assert sum(map(progress_fraction, unknown)) == 0


def test_a_broken_progress_line_is_no_progress(tmp_path):
    """Any script may print anything."""
    log = tmp_path / "train.log"
    log.write_text("TS_PROGRESS [1]\n")
    assert latest_progress(log) is None
    log.write_text("TS_PROGRESS {\n")
    assert latest_progress(log) is None
    assert latest_progress(tmp_path / "none") is None


def test_last_lines_are_those_for_people(tmp_path):
    """Progress lines and empty ones are left out; broken UTF-8 is shown, not raised."""
    log = tmp_path / "train.log"
    log.write_bytes(b"one\n\n\xff two\nTS_PROGRESS {}\n")
    assert last_lines(log, 2) == ["one", "\ufffd two"]


def test_a_follower_hands_out_each_line_once_and_skips_a_flood(tmp_path):
    """New whole lines since the last call; of a huge gain only the end."""
    log = tmp_path / "train.log"
    log.write_text("old\n")
    follower = LogFollower(log)
    with log.open("a") as stream:
        stream.write("new\nhal")
        stream.flush()
        assert follower.new_lines() == "new"
        stream.write("f\n")
        stream.flush()
        assert follower.new_lines() == "half"
        stream.write("x" * 2 * MOST_AT_ONCE + "\nend\n")
        stream.flush()
        assert follower.new_lines().splitlines()[-1] == "end"
    assert follower.new_lines() == ""
