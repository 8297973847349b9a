"""The live display, on a screen in memory: starts, ends, logs, and what others print."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from training.display import live
from training.display.live import LiveDisplay, Screen
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.record import Cause
from training.slurm.job_states import JobLocation
from training.system.console import say
from training.system.paths import Roots


class Window(io.StringIO):
    """A terminal's window in memory; with `has_gone` writing to it fails."""

    has_gone = False

    def write(self, text: str) -> int:
        if self.has_gone:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


class Lab:
    """A launch of `count` scenes, and its display."""

    def __init__(self, root: Path, count: int) -> None:
        names = [f"a_{number}" for number in range(count)]
        self.scenes = [
            ScenePlan.model_construct(name=each, action="run", output=root / each) for each in names
        ]
        for scene in self.scenes:
            scene.output.mkdir()
        self.plan = Plan.model_construct(
            plan_id="exp-1",
            exp_name="exp",
            roots=Roots(results_root=root, scene_data_root=root, state_root=root),
            scenes=tuple(self.scenes),
            workers=2,
            slurm=None,
        )
        self.file = Window()
        console = Console(
            file=self.file, force_terminal=True, width=80, height=24, soft_wrap=True, markup=False
        )
        self.display = LiveDisplay(self.plan, Screen(console))

    @property
    def lines(self) -> list[str]:
        """The screen, as a terminal shows what was written."""
        screen = pyte.Screen(80, 200)
        pyte.Stream(screen).feed(self.file.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display if line.strip()]

    def look(self) -> list[str]:
        """Return the screen after one tick of the display."""
        self.display._read_logs()
        self.display._show()
        return self.lines

    def outcome(self, scene: ScenePlan, status: str, cause: Cause) -> Outcome:
        return Outcome(scene=scene.name, status=status, cause=cause, log=scene.log, seconds=30.0)


@pytest.fixture
def launch(tmp_path):
    """`launch(4)`: a display of four scenes, closed at the end."""
    opened = []

    def open_one(count: int) -> Lab:
        opened.append(Lab(tmp_path, count))
        return opened[-1]

    yield open_one
    for each in opened:
        each.display.close()


def test_an_attempt_that_failed_and_will_be_retried_is_not_counted_as_failed(launch):
    """The scene waits, then runs again; the line about the failed attempt stays above."""
    lab = launch(3)
    first = lab.scenes[0]
    lab.display.started(first, 1, JobLocation("12", "n1"))
    lab.display.ended(first, lab.outcome(first, "failed", Cause.WORKER_LOST), will_retry=True)
    assert "3 waiting" in lab.lines[-1]
    assert "failed" not in lab.lines[-1]
    lab.display.started(first, 2, JobLocation("13", "n2"))
    assert "1 running, 2 waiting" in lab.lines[-2]
    assert lab.lines[-1].endswith("attempt 2  Slurm job 13 on n2")
    assert "a_0 failed (worker_lost)" in lab.lines[0]
    assert lab.lines[0].endswith("will be retried")


def test_the_time_left_is_estimated_from_the_done_scenes(launch):
    """One of three took 30 s: the other two, at the same time, take 30 s."""
    lab = launch(3)
    lab.display.started(lab.scenes[0], 1)
    assert "time left not known yet" in lab.lines[1]
    lab.display.ended(lab.scenes[0], lab.outcome(lab.scenes[0], "done", Cause.OK), will_retry=False)
    assert "about 0:30 left" in lab.lines[-1]


def test_few_logs_are_read_per_tick_and_all_that_are_shown_in_turn(launch, monkeypatch):
    """Each read is a request to a shared disk; logs of scenes outside the window are not read."""
    lab, read = launch(100), []
    monkeypatch.setattr(live, "progress_lines", lambda log: read.append(log) or [{"a": 1}])
    for scene in lab.scenes:
        lab.display.started(scene, 1)
    lab.display._read_logs()
    assert len(read) == live.MOST_READS
    for _ in range(5):
        lab.display._read_logs()
    assert set(read) == {scene.log for scene in lab.scenes[:24]}


def test_without_progress_lines_the_logs_last_line_is_shown(launch):
    """The heading of an attempt does not count as its output."""
    lab = launch(2)
    log = lab.scenes[0].log
    log.write_text("=== attempt 1\n")
    lab.display.started(lab.scenes[0], 1)
    assert lab.look()[-1].split() == ["a_0", "0:00"]
    log.write_text("=== attempt 1\nloading images\n")
    assert lab.look()[-1].split() == ["a_0", "0:00", "loading", "images"]
    log.write_text('=== attempt 1\nTS_PROGRESS {"epoch": 1, "epochs": 2}\nsaved\n')
    assert lab.look()[-1].split() == ["a_0", "0:00", "epoch", "1/2"]


def test_output_of_others_goes_above(launch):
    """Messages, other rich consoles and prints; long paths are not broken by spaces."""
    lab = launch(2)
    lab.display.started(lab.scenes[0], 1)
    long = "/a_folder" * 12
    say(f"waiting for Slurm: {long}")
    Console(file=sys.stdout, force_terminal=True).print("of another console")
    print("[red]not markup[/red]")
    say("last")
    above, live = lab.lines[:-3], lab.lines[-3:]
    assert "".join(above).startswith(f"waiting for Slurm: {long}")
    assert above[-3:] == ["of another console", "[red]not markup[/red]", "last"]
    assert live[0].startswith("exp ─")
    assert live[2].split()[0] == "a_0"


def test_a_window_that_is_closed_raises_nothing(launch):
    """Neither `ended` nor `close` fails when writing to the terminal does."""
    lab = launch(2)
    lab.display.started(lab.scenes[0], 1)
    lab.file.has_gone = True
    lab.display.ended(lab.scenes[0], lab.outcome(lab.scenes[0], "done", Cause.OK), will_retry=False)
    lab.look()
    lab.display.close()


def test_standard_error_in_a_file_is_left_alone(launch, capsys):
    """`2> errors` with standard output on a terminal."""
    lab = launch(2)
    say("a warning", sys.stderr)
    assert capsys.readouterr().err == "a warning\n"
    assert lab.lines == []


def test_after_close_lines_are_printed_as_usual(launch, capsys):
    """Task runs of a stopped flow may end later."""
    stdout = sys.stdout
    lab = launch(2)
    lab.display.started(lab.scenes[0], 1)
    lab.display.refresh()
    lab.display.close()
    assert sys.stdout is stdout
    written = lab.file.getvalue()
    lab.display.ended(lab.scenes[0], lab.outcome(lab.scenes[0], "done", Cause.OK), will_retry=False)
    lab.display.refresh()
    assert "a_0 done" in capsys.readouterr().out
    assert lab.file.getvalue() == written
