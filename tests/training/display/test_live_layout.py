"""The live part of a launch, line by line."""

from __future__ import annotations

import pytest
from rich.text import Text

from training.display.live_layout import LiveState, Running, draw
from training.system.colours import COLOURS


def state(**more):
    given = {"title": "exp", "total": 4, "ended": {}, "running": [], "elapsed_s": 65.0}
    return LiveState(**{**given, **more})


def drawn(shown, width=60, height=24, **more):
    return [line.plain for line in draw(shown, width, height, **more)]


def running(count, **more):
    return [
        Running(f"scene_{number:03}", 7.0, "epoch 3/30, loss 0.0123", **more)
        for number in range(count)
    ]


def test_the_bar_shows_how_many_scenes_have_ended():
    """Half of the scenes ended: half of the bar; failed ones in red, cancelled ones not."""
    (line, *_) = draw(state(total=6, ended={"done": 1, "failed": 2, "cancelled": 3}), 60, 24)
    assert line.plain.count("━") == pytest.approx(line.plain.count("─"), abs=1)
    assert line.plain.endswith("1 of 6 done")
    assert {str(span.style) for span in line.spans} == {
        COLOURS[meaning] for meaning in ("done", "failed", "waiting")
    }


def test_running_scenes_move_the_bar_by_their_epochs():
    """With a single scene the bar would otherwise stay empty until the end."""
    (line, *_) = drawn(state(total=1, running=running(1), begun=0.5))
    assert line.count("━") == pytest.approx(line.count("─"), abs=1)


def test_counts_and_the_time_that_is_left():
    """Counts that are zero are left out."""
    shown = state(total=100, ended={"done": 2, "failed": 1}, running=running(3), left_s=80)
    counts = drawn(shown, 100)[1]
    assert counts.startswith(
        "2 done, 1 failed, 3 running, 94 waiting; 1:05 so far, about 1:20 left"
    )
    assert "cancelled" not in counts


def test_cancelled_and_held_scenes_are_counted():
    assert "1 cancelled, 2 held by others" in drawn(state(ended={"cancelled": 1, "held": 2}))[1]


def test_a_running_scene_has_a_line_with_all_that_is_known():
    """Its name, time, epoch, loss, attempt and place."""
    scenes = running(1, where="Slurm job 12 on n1", attempt=2)
    line = drawn(state(running=scenes), 100)[2]
    words = "scene_000 0:07 epoch 3/30, loss 0.0123 attempt 2 Slurm job 12 on n1"
    assert " ".join(line.split()) == words


def test_a_trainers_output_is_shown_as_one_plain_line():
    """Colours, tabs, a carriage return of a progress bar, codes that move the cursor."""
    says = "\x1b[32mloading\x1b[0m\timages\x1b[2A\x07 9%"
    line = drawn(state(running=[Running("a", 7.0, says)]))[2]
    assert " ".join(line.split()) == "a 0:07 loading images 9%"


def test_more_scenes_than_rows():
    """The scenes that have run longest, and how many more; one row stays free."""
    lines = drawn(state(total=256, running=running(256)), height=12)
    assert len(lines) == 11
    assert [line.split()[0] for line in lines[2:10]] == [f"scene_{n:03}" for n in range(8)]
    assert lines[10].strip() == "and 248 more"


@pytest.mark.parametrize("width", [1, 4, 5, 10, 23, 40, 80, 300])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 24])
def test_in_a_window_of_any_size_every_line_fits(width, height):
    """A line that wraps, or a row too many, would tear what is drawn next."""
    names = ["a", "x" * 200, "süß_北京_" * 20]
    scenes = [Running(name, 7.0, "epoch 1/2", "Slurm job 1 on n" * 9) for name in names]
    lines = drawn(state(title="t" * 50, running=scenes), width, height)
    assert 1 <= len(lines) <= max(1, height - 1)
    assert all(Text(line).cell_len <= max(1, width - 4) for line in lines)


def test_long_names_leave_place_for_the_epoch():
    line = drawn(state(running=[Running("x" * 200, 7.0, "epoch 1/2")]))[2]
    assert "epoch 1/2" in line


def test_a_terminal_without_our_letters():
    """ASCII alone, and no wider than the window."""
    scenes = [Running("süß_北", 7.0, "epoch 1/2")]
    lines = drawn(state(running=scenes, ended={"done": 2}), encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert lines[0].count("=") == pytest.approx(lines[0].count("-"), abs=1)
    assert max(map(len, lines)) <= 56


def test_while_stopping_no_scene_is_shown_as_running():
    """Trainers end one by one, and a flow does not see each end."""
    lines = drawn(state(ended={"done": 1}, running=running(2), phase="stopping"))
    assert lines[1] == "stopping: 1 done, 3 not done; 1:05 so far"
    assert len(lines) == 2


def test_at_the_end_the_counts_say_what_became_of_all_scenes():
    ended = {"done": 2, "failed": 1, "cancelled": 1}
    assert drawn(state(ended={"cancelled": 4}, begun=2.0, phase="over"))[0].count("━") == 0
    lines = drawn(state(ended=ended, phase="over"))
    assert lines[1:] == ["2 done, 1 failed, 1 cancelled, after 1:05"]
