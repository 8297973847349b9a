"""`--status`, `--watch`, `--logs`, `--cancel`: for an experiment that runs elsewhere, or ran."""

from __future__ import annotations

import shutil
import sys
import time

from preprocess.faults import Fault, FaultsError
from training.cli.cancel import cancel, describe_active
from training.cli.follow_log import follow
from training.cli.status_table import render
from training.jobs.status import Snapshot, take_snapshot
from training.plan.experiments import Experiment, find_experiment
from training.plan.options import LaunchOptions
from training.system.console import say
from training.system.exit_status import DONE, FAILED, GOING_ON
from training.system.paths import resolve_roots

REFRESH_S = 5.0
CLEAR = "\x1b[H\x1b[2J"
"""Move a terminal's cursor home and clear the screen (ECMA-48)."""


def experiment_command(options: LaunchOptions) -> int:
    """Do what one of the flags asks for and return the exit status.

    Raises FaultsError for an unknown experiment or scene, and for flags that exclude each other.
    """
    _check_single_command(options)
    experiment = find_experiment(options.exp_name, resolve_roots(options.model_dump()))
    if options.logs or options.cancel:  # --status shows them below its table
        _say_warnings(experiment)
    if options.logs:
        follow(experiment, options.logs)
        return DONE
    if options.cancel:
        return _cancel(experiment, dry_run=options.dry_run)
    return _watch(experiment) if options.watch else _show(experiment)


def _say_warnings(experiment: Experiment) -> None:
    for warning in experiment.warnings:
        say(f"warning: {warning}", sys.stderr)


def _check_single_command(options: LaunchOptions) -> None:
    given = {
        "--status/--watch": options.status or options.watch,
        "--logs": options.logs,
        "--cancel": options.cancel,
        "--submit": options.submit,
    }
    commands = [flag for flag, is_given in given.items() if is_given]
    if len(commands) > 1:
        raise FaultsError([Fault("these exclude each other", ", ".join(commands), "choose one")])


def exit_status(snapshot: Snapshot) -> int:
    """Return the exit status that tells a script how the experiment stands."""
    if snapshot.is_active:
        return GOING_ON
    return DONE if snapshot.is_done else FAILED


def _cancel(experiment: Experiment, *, dry_run: bool) -> int:
    if dry_run:
        say(f"would be cancelled\n{describe_active(take_snapshot(experiment))}")
        return DONE
    return DONE if cancel(experiment) else FAILED


def _show(experiment: Experiment) -> int:
    snapshot = take_snapshot(experiment)
    say(render(snapshot))
    return exit_status(snapshot)


def _watch(experiment: Experiment) -> int:
    """Show the table until everything has ended: redrawn on a terminal, else for every change."""
    shown: object = None
    while True:
        experiment = find_experiment(experiment.name, experiment.roots)  # it may have grown
        snapshot = take_snapshot(experiment)
        if sys.stdout.isatty():
            say(_page(snapshot))
        elif (states := _states(snapshot)) != shown:
            say(render(snapshot) + "\n")
            shown = states
        if not snapshot.is_active:
            return exit_status(snapshot)
        time.sleep(REFRESH_S)


def _states(snapshot: Snapshot) -> object:
    """Return what must change for another table to be printed."""
    scenes = [(each.state, len(each.attempts), each.job_id) for each in snapshot.scenes]
    jobs = [(each.job.job_id, each.job.state) for each in snapshot.queue.jobs]
    return scenes, jobs, snapshot.aggregate


def _page(snapshot: Snapshot) -> str:
    """Return as much of the table as fits the terminal without wrapped lines."""
    size = shutil.get_terminal_size()
    around = len(render(snapshot, 1).splitlines()) + 1
    lines = render(snapshot, size.lines - around).splitlines()
    return CLEAR + "\n".join(line[: size.columns] for line in lines)
