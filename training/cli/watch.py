"""`--watch`: an experiment's table until all has ended, with a bar, redrawn on a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from os import terminal_size

from training.cli.loop_parts import snapshots_of
from training.cli.status_table import render_all
from training.display.bar import Bar
from training.jobs.status import Snapshot
from training.plan.experiments import Experiment, find_experiment
from training.system.colours import can_redraw
from training.system.console import say
from training.system.exit_status import DONE, FAILED, GOING_ON
from training.system.scene_log import progress_fraction

REFRESH_S = 5.0
RESIZE_POLL_S = 0.2
CLEAR = "\x1b[H\x1b[2J"
"""Move a terminal's cursor home and clear the screen (ECMA-48)."""
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def exit_status(snapshots: Sequence[Snapshot]) -> int:
    """Return the exit status that tells a script how an experiment stands, in all its stages."""
    if any(snapshot.is_active for snapshot in snapshots):
        return GOING_ON
    return DONE if all(snapshot.is_done for snapshot in snapshots) else FAILED


def watch(experiment: Experiment) -> int:
    """Show the table until everything has ended: redrawn on a terminal, else for every change."""
    shown: object = None
    is_redrawn = can_redraw(sys.stdout)
    while True:
        experiment = find_experiment(experiment.name, experiment.roots)  # it may have grown
        snapshots = snapshots_of(experiment)
        is_over = not any(snapshot.is_active for snapshot in snapshots)
        states = list(map(_states, snapshots))
        if is_redrawn:
            _draw(snapshots, is_first=shown is None)
        elif states != shown:
            say(render_all(snapshots) + "\n")
        shown = states
        if is_over:
            return exit_status(snapshots)
        _wait(snapshots, is_redrawn=is_redrawn)


def _states(snapshot: Snapshot) -> object:
    """Return what must change for another table to be printed."""
    scenes = [(each.state, len(each.attempts), each.job_id) for each in snapshot.scenes]
    jobs = [(each.job.job_id, each.job.state) for each in snapshot.queue.jobs]
    return scenes, jobs, snapshot.aggregate


def _wait(snapshots: Sequence[Snapshot], *, is_redrawn: bool) -> None:
    """Wait for the next refresh; meanwhile draw again at once for a window of another size."""
    deadline, size = time.monotonic() + REFRESH_S, shutil.get_terminal_size()
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, RESIZE_POLL_S if is_redrawn else REFRESH_S))
        if is_redrawn and (now := shutil.get_terminal_size()) != size:
            size = now
            _draw(snapshots, is_first=True)


def _draw(snapshots: Sequence[Snapshot], *, is_first: bool) -> None:
    """Fill the screen; over the former page line by line, so that nothing flickers."""
    size = shutil.get_terminal_size()
    lines = page(snapshots, size)
    begin = CLEAR if is_first else HOME
    text = begin + "".join(f"{line}{CLEAR_LINE}\n" for line in lines[:-1]) + lines[-1] + CLEAR_BELOW
    say(text, end="\n" if len(lines) < size.lines else "")  # the only line would scroll away


def page(snapshots: Sequence[Snapshot], size: terminal_size) -> list[str]:
    """Return a bar, and as much of the table as fits the terminal without wrapped lines."""
    bar = _bar(snapshots).text(size.columns - 1, sys.stdout.encoding)
    around = len(render_all(snapshots, 1, size.columns).splitlines()) + 1
    table = render_all(snapshots, size.lines - around, size.columns)
    lines = [_cut(line, size.columns) for line in (bar, *table.splitlines())]
    return lines[: max(1, size.lines - 1)]


def _bar(snapshots: Sequence[Snapshot]) -> Bar:
    scenes = [each for snapshot in snapshots for each in snapshot.scenes]
    names = [snapshot.experiment.name for snapshot in snapshots]
    return Bar(
        title=names[0],
        total=len(scenes),
        done=sum(each.state == "done" for each in scenes),
        failed=sum(each.state == "failed" for each in scenes),
        begun=sum(progress_fraction(each.progress) for each in scenes if each.state == "running"),
    )


def _cut(line: str, width: int) -> str:
    """Return a line that may be coloured, cut to the width of the terminal."""
    from training.display.rich_adapter import cut_coloured

    return cut_coloured(line, width)
