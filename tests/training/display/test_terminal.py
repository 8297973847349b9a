"""`training/run.py` on a real terminal: what a person sees while scenes run, and at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pseudo_terminal import terminals

CHECKOUT = Path(__file__).resolve().parents[3]
LAUNCHER = [sys.executable, str(CHECKOUT / "training" / "run.py")]


@pytest.fixture
def on_terminal(lab):
    """The launcher on a terminal of its own: `on_terminal("--run-all")`."""
    with terminals() as opened:

        def open_one(*flags, command=None, environment=None, **more):
            command = command or [*LAUNCHER, *lab.arguments(*flags)]
            return opened(command, {**lab.environment, **(environment or {})}, **more)

        yield open_one


def let_go(lab, *names):
    for name in names:
        lab.let_go(name)


def is_in_order(terminal):
    """Return whether the cursor is visible and at the beginning of a line."""
    return not terminal.screen.cursor.hidden and terminal.screen.cursor.x == 0


def test_a_bar_a_line_a_running_scene_and_the_table_below(lab, on_terminal, eventually):
    """Two running scenes with epochs, a failure with its log's end; at last bar, then table."""
    lab.add_scene("a_1", do="wait")
    lab.add_scene("a_2", do="fail")
    lab.add_scene("a_3", do="wait")
    terminal = on_terminal("--run-all", "--workers", "2")
    eventually(lambda: "a_3 " in terminal.seen.partition("waiting")[0], "the third scene")
    eventually(lambda: terminal.seen.count("epoch 1/2, loss 0.5") == 2, "the epochs")
    bar, counts, *running = terminal.seen.splitlines()[-4:]
    assert bar.startswith("exp ━")
    assert bar.endswith("0 of 3 done")
    assert counts.startswith("1 failed, 2 running; 0:")
    assert [line.split()[0] for line in running] == ["a_1", "a_3"]
    above = terminal.seen.partition("exp ━")[0]
    assert "a_2 failed (trainer_error)" in above
    assert "    | the loss is not a number" in above
    assert f"log: {lab.output('a_2') / 'train.log'}" in above.replace("\n", "")
    let_go(lab, "a_1", "a_3")
    assert terminal.wait() == 1
    parts = ["exp ━", "2 done, 1 failed, after 0:", "attempts", "report: "]
    assert sorted(parts, key=terminal.all.index) == parts
    assert terminal.all.count("exp ━") == 1  # nothing of it is left between other lines
    assert "epoch 1/2" not in terminal.all
    assert is_in_order(terminal)


def test_the_log_of_a_single_scene_is_printed_above_the_bar(lab, on_terminal, eventually):
    """As without a live display; below it the epoch."""
    lab.add_scene("a_1", do="wait")
    terminal = on_terminal()
    eventually(lambda: "epoch 1/2, loss 0.5" in terminal.seen, "the epoch")
    eventually(lambda: "training a_1 from camera 28" in terminal.seen, "the log")
    lines = [line.split()[0] for line in terminal.seen.splitlines() if line]
    assert lines.index("training") < lines.index("exp")
    let_go(lab, "a_1")
    assert terminal.wait() == 0
    assert "training a_1 from camera 28" in terminal.all
    assert "TS_PROGRESS" not in terminal.all


def test_more_running_scenes_than_rows(lab, on_terminal, eventually):
    """Those that fit the window, and how many more; nothing scrolls."""
    names = [f"a_{number}" for number in range(8)]
    for name in names:
        lab.add_scene(name, do="wait")
    terminal = on_terminal("--run-all", "--workers", "8", size=(60, 8))
    eventually(lambda: "and 4 more" in terminal.seen, "a window that is full")
    for name in names:
        eventually((lab.output(name) / "ready.txt").exists, "its trainer")
    assert terminal.seen.count("exp ━") + terminal.seen.count("exp ─") == 1
    let_go(lab, *names)
    assert terminal.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_shown_and_the_terminal_is_in_order(lab, on_terminal, eventually, number):
    """On TERM and HUP: the request, the table, a visible cursor."""
    lab.add_scene("a_1", do="hang")
    lab.add_scene("a_2", do="hang")
    terminal = on_terminal("--run-all", "--workers", "2")
    eventually(lambda: terminal.seen.count("epoch 1/2") == 2, "the epochs")
    terminal.process.send_signal(number)
    assert terminal.wait() == 130
    assert "stopping: trainers may write a checkpoint" in terminal.all
    assert "a_1 cancelled" in terminal.all
    assert terminal.all.index("2 cancelled, after 0:") < terminal.all.index("attempts")
    assert is_in_order(terminal)


def test_ctrl_c_pressed_as_a_key(lab, on_terminal, eventually):
    """Pressed twice while a trainer ignores TERM: its echo behind a full line wraps nothing."""
    lab.add_scene("a_1", do="ignore_term")
    lab.add_scene("a_2", do="ignore_term")
    terminal = on_terminal("--run-all", "--workers", "2", "--kill-grace", "3600", size=(34, 24))
    eventually(lambda: terminal.seen.count("epoch 1/2") == 2, "the epochs")
    terminal.write(b"\x03")
    eventually(lambda: "stopping: 2 not done" in terminal.seen, "the stop")
    terminal.write(b"\x03")
    assert terminal.wait() == 130
    assert terminal.all.count("exp ─") == 1
    assert is_in_order(terminal)


def test_kill_9_leaves_a_visible_cursor(lab, on_terminal, eventually):
    lab.add_scene("a_1", do="hang")
    terminal = on_terminal()
    eventually(lambda: "epoch 1/2" in terminal.seen, "the epoch")
    terminal.process.kill()
    terminal.process.wait(60)
    assert not terminal.screen.cursor.hidden


def test_a_window_that_is_closed_ends_no_training(lab, on_terminal, eventually):
    """With SIGHUP ignored, as under nohup, the scenes are trained to their end."""
    lab.add_scene("a_1", do="wait")
    lab.add_scene("a_2", do="wait")
    deaf = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    flags = lab.arguments("--run-all", "--workers", "2")
    terminal = on_terminal(command=[*deaf, *LAUNCHER, *flags])
    eventually(lambda: terminal.seen.count("epoch 1/2") == 2, "the epochs")
    terminal.hang_up()
    let_go(lab, "a_1", "a_2")
    assert terminal.process.wait(60) == 0
    assert [lab.record(name)["status"] for name in ("a_1", "a_2")] == ["done", "done"]


def test_a_suspended_job_that_is_continued(lab, on_terminal, eventually):
    """Ctrl-Z, work in the shell, fg: the live part is drawn below what the shell has written."""
    lab.add_scene("a_1", do="wait")
    lab.add_scene("a_2", do="wait")
    shell = ["bash", "--norc", "--noprofile", "-i"]
    terminal = on_terminal(command=shell, environment={"PS1": "me> ", "HISTFILE": ""})
    command = subprocess.list2cmdline([*LAUNCHER, *lab.arguments("--run-all", "--workers", "2")])
    terminal.write(f"{command}\n".encode())
    eventually(lambda: terminal.seen.count("epoch 1/2") == 2, "the epochs")
    terminal.write(b"\x1a")
    eventually(lambda: "Stopped" in terminal.seen, "the shell")
    assert "exp ━" not in terminal.all
    terminal.write(b"echo mine $((6 * 7)); fg\n")
    eventually(lambda: "2 running" in terminal.seen.partition("mine 42")[2], "the live part")
    let_go(lab, "a_1", "a_2")
    eventually(lambda: "report: " in terminal.seen, "the end")
    assert "mine 42" in terminal.all
    assert terminal.all.count("exp ━") == 1
    terminal.write(b"exit\n")
    terminal.wait()


def test_a_job_in_the_background_redraws_nothing(lab, on_terminal, eventually):
    """Started with `&` it prints lines, and the line that the user types on is left alone."""
    lab.add_scene("a_1", do="wait")
    lab.add_scene("a_2")
    shell = ["bash", "--norc", "--noprofile", "-i"]
    terminal = on_terminal(command=shell, environment={"PS1": "me> ", "HISTFILE": ""})
    command = subprocess.list2cmdline([*LAUNCHER, *lab.arguments("--run-all", "--workers", "2")])
    terminal.write(f"{command} &\n".encode())
    eventually(lambda: "a_2 done" in terminal.seen, "a line")
    eventually(lab.output("a_1").is_dir, "the other scene")
    let_go(lab, "a_1")
    eventually(lambda: "report: " in terminal.seen, "the end")
    assert "2 of 2" not in terminal.all
    terminal.write(b"exit\n")
    terminal.wait()


def test_a_window_that_is_resized(lab, on_terminal, eventually):
    """Made small, then large: the live part fits."""
    names = [f"a_{number}" for number in range(6)]
    for name in names:
        lab.add_scene(name, do="wait")
    terminal = on_terminal("--run-all", "--workers", "6")
    eventually(lambda: terminal.seen.count("epoch 1/2") == 6, "the epochs")
    terminal.resize(50, 6)
    eventually(lambda: "and 4 more" in terminal.seen, "fewer lines")
    terminal.resize(90, 30)
    eventually(lambda: terminal.seen.count("epoch 1/2") == 6, "all lines")
    let_go(lab, *names)
    assert terminal.wait() == 0
    assert is_in_order(terminal)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_plain_lines_where_nothing_can_be_redrawn(lab, on_terminal, environment):
    """On a terminal that can't move its cursor, or with TTY_INTERACTIVE=0."""
    lab.add_scene("a_1")
    lab.add_scene("a_2")
    terminal = on_terminal("--run-all", environment=environment)
    assert terminal.wait() == 0
    assert "[1/2] a_1: started" in terminal.all
    assert b"\x1b" not in terminal.raw


def test_no_colour_where_none_is_wanted(lab, on_terminal):
    lab.add_scene("a_1")
    terminal = on_terminal(environment={"NO_COLOR": "1"})
    assert terminal.wait() == 0
    assert "1 of 1" in terminal.all
    assert b"\x1b[3" not in terminal.raw


def test_a_terminal_without_our_letters(lab, on_terminal):
    lab.add_scene("a_1", do="letters")
    terminal = on_terminal(environment={"PYTHONIOENCODING": "ascii"})
    assert terminal.wait() == 0
    assert "1 of 1" in terminal.all
    assert terminal.raw.isascii()


def test_rich_is_not_imported_where_there_is_no_terminal(lab):
    """A launch in a job or a pipe does not pay for it."""
    lab.add_scene("a_1")
    program = (
        "import sys; from training.run import main; status = main(sys.argv[1:]);"
        "sys.exit(status or ('rich' in sys.modules) * 7)"
    )
    command = [sys.executable, "-c", program, *lab.arguments()]
    environment = {**os.environ, **lab.environment}
    result = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
