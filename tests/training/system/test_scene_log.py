"""A log is read while it is written."""

from __future__ import annotations

import pytest

from training.system.scene_log import (
    MOST_AT_ONCE,
    LogFollower,
    last_line,
    last_lines,
    last_message,
    latest_progress,
    position_text,
    progress_fraction,
    progress_text,
    seconds_to_go,
)


def test_progress_is_the_last_whole_progress_line_of_the_last_attempt(tmp_path):
    """A half-written line is skipped, and so are those of earlier attempts."""
    log = tmp_path / "train.log"
    log.write_text('=== attempt 1\nTS_PROGRESS {"epoch": 9}\n')
    assert latest_progress(log) == {"epoch": 9}
    log.write_text(log.read_text() + "=== attempt 2\nhello\n")
    assert latest_progress(log) is None
    log.write_text(log.read_text() + 'TS_PROGRESS {"epoch": 1, "loss": 0.25}\nTS_PROGRESS {"ep')
    assert progress_text(latest_progress(log)) == "epoch 1, loss 0.25"


def test_progress_counts_epochs_or_samples():
    """As text, and as a fraction where the line has a total."""
    samples = {"samples": 24, "dropped": 0, "of": 96}
    assert progress_text(samples) == "sample 24/96"
    assert progress_fraction(samples) == 0.25
    assert progress_fraction({"epoch": 3, "epochs": 4}) == 0.75
    unknown = ({}, {"epoch": 3}, {"epoch": "x", "epochs": 4}, {"epoch": 1, "epochs": 0})
    assert sum(map(progress_fraction, unknown)) == 0


def test_steps_of_a_refiner_are_shown_too():
    """They have no epochs."""
    line = {"step": 200, "steps": 3000, "loss": 0.5}
    assert progress_text(line) == "step 200/3000, loss 0.5"
    assert progress_fraction(line) == 200 / 3000
    assert position_text({"loss": 0.5}) == ""


def epochs(*numbers, **more):
    return [{"epoch": number, "epochs": 10, **more} for number in numbers]


@pytest.mark.parametrize(
    ("lines", "attempt", "seconds"),
    [
        ([], 1, None),
        (epochs(1, 2), 1, 400.0),  # 100 s for 2 epochs, 8 are left
        (epochs(1, 2), 2, None),  # goes on from a checkpoint: how many epochs it did is not known
        (epochs(6, 7, seconds=3.0), 2, 9.0),  # unless a line says how long one takes
        (epochs(10, seconds=3.0), 1, 0.0),
        ([{"loss": 0.5}], 1, None),
        ([{"epoch": 0, "epochs": 10}], 1, None),
        *[(epochs(1, seconds=number), 1, None) for number in (float("nan"), float("inf"), 1e300)],
        (epochs(1, seconds=-3.0), 1, None),
    ],
)
def test_the_time_left_by_an_attempts_own_progress(lines, attempt, seconds):
    assert seconds_to_go(lines, 100.0, attempt) == seconds


def test_a_broken_progress_line_is_no_progress(tmp_path):
    """What is no JSON object is ignored: any script may print anything."""
    log = tmp_path / "train.log"
    log.write_text("TS_PROGRESS [1]\n")
    assert latest_progress(log) is None
    log.write_text("TS_PROGRESS {\n")
    assert latest_progress(log) is None
    assert latest_progress(tmp_path / "none") is None


def test_last_lines_are_those_for_people(tmp_path):
    """Progress lines and empty ones are skipped; invalid UTF-8 is replaced."""
    log = tmp_path / "train.log"
    log.write_bytes(b"one\n\n\xff two\nTS_PROGRESS {}\n")
    assert last_lines(log, 2) == ["one", "\ufffd two"]


def test_a_follower_returns_each_line_once_and_skips_a_flood(tmp_path):
    """Whole lines since the last call; of a huge gain only the end."""
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


def test_the_last_message_is_the_end_of_the_last_attempt_in_one_line(tmp_path):
    """Lines of earlier attempts don't count; a silent attempt has no output."""
    log = tmp_path / "train.log"
    log.write_text("=== attempt 1\nold\n=== attempt 2\n=== python train.py\none\n\n  two\n")
    assert last_message(log) == "one two"
    assert last_message(log, count=1) == "two"
    assert last_line(log) == "  two"
    log.write_text("=== attempt 1\nold\n=== attempt 2\n")
    assert last_message(log) == "no output"
    log.write_text("x" * 1000)
    assert last_message(log) == last_line(log) == "x" * 500
    assert last_message(tmp_path / "none") == last_line(tmp_path / "none") == "no output"


def test_a_follower_begins_a_replaced_log_from_its_beginning(tmp_path):
    """As when outputs were set aside; it began at the end of the log that was there."""
    log = tmp_path / "train.log"
    log.write_text("old\n")
    follower = LogFollower(log)
    log.rename(tmp_path / "aside.log")
    assert follower.new_lines() == ""
    log.write_text("new\nTS_PROGRESS {}\n")
    assert follower.new_lines() == "new"


def test_a_trainers_output_has_nothing_that_a_terminal_obeys(tmp_path):
    """Neither in its last lines, of which messages are made, nor in a progress line's values."""
    log = tmp_path / "train.log"
    log.write_text("\x1b[1mloss\x1b[0m \x1b]52;c;eA==\x07é 中\tnan\n")
    assert last_message(log) == "loss \\x1b]52;c;eA==\\x07é 中\tnan"
    assert position_text({"epoch": "\x1b[2J3\x07", "epochs": 4}) == r"epoch 3\x07/4"
