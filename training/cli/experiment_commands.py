"""`--status`, `--watch`, `--logs`, `--cancel`: for an experiment that runs elsewhere, or ran."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

from preprocess.faults import Fault, FaultsError
from training.cli.cancel import cancel, describe_active
from training.cli.follow_log import follow, last_written
from training.cli.status_table import render_all
from training.execution.launcher_process import living_launcher
from training.jobs.status import Snapshot, take_snapshot
from training.plan.experiments import Experiment, find_experiment
from training.plan.options import LaunchOptions
from training.system.console import say
from training.system.exit_status import DONE, FAILED, GOING_ON
from training.system.paths import resolve_roots
from training.system.typed_command import spelled

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
        follow(_writing(experiment, options.logs), options.logs)
        return DONE
    if options.cancel:
        return _cancel(experiment, dry_run=options.dry_run)
    return _watch(experiment) if options.watch else _show(experiment)


def _parts(experiment: Experiment) -> tuple[Experiment, ...]:
    """Return what an experiment consists of: the stages of its loop, or itself."""
    return experiment.stages or (experiment,)


def _shown(experiment: Experiment) -> tuple[Experiment, ...]:
    """Return what has a table of its own: stages, or training, data generation and evaluation."""
    return experiment.stages or experiment.kinds


def _writing(experiment: Experiment, scene: str) -> Experiment:
    """Return the stage of a loop, in the loop's own experiment, that wrote a scene's log last."""
    own = [each for each in experiment.stages if each.name == experiment.name]
    having = [each for each in own if scene in each.scenes]
    return max(having, key=lambda each: last_written(each.output(scene)), default=experiment)


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


def exit_status(snapshots: Sequence[Snapshot]) -> int:
    """Return the exit status that tells a script how an experiment stands, in all its stages."""
    if any(snapshot.is_active for snapshot in snapshots):
        return GOING_ON
    return DONE if all(snapshot.is_done for snapshot in snapshots) else FAILED


def _check_is_no_stage(experiment: Experiment) -> None:
    """Raise FaultsError for a stage of a loop that a process of this host runs.

    That process goes on with the other stages: to end it would end all of the loop.
    """
    newest = experiment.plans[0] if experiment.plans else None
    stage = newest.stage if newest else None
    if newest and stage and stage.loop != experiment.name and living_launcher(newest.file):
        what = f"one process runs all of the loop {stage.loop}"
        remedy = f"end the loop: {spelled('cancel')} --exp-name {stage.loop}"
        raise FaultsError([Fault(what, experiment.name, remedy)])


def _cancel(experiment: Experiment, *, dry_run: bool) -> int:
    _check_is_no_stage(experiment)
    if dry_run:
        active = map(describe_active, map(take_snapshot, _parts(experiment)))
        say("\n".join(["would be cancelled", *dict.fromkeys(active)]))
        return DONE
    return DONE if cancel(_parts(experiment)) else FAILED


def _show(experiment: Experiment) -> int:
    snapshots = [take_snapshot(part) for part in _shown(experiment)]
    say(render_all(snapshots))
    return exit_status(snapshots)


def _watch(experiment: Experiment) -> int:
    """Show the table until everything has ended: redrawn on a terminal, else for every change."""
    shown: object = None
    while True:
        experiment = find_experiment(experiment.name, experiment.roots)  # it may have grown
        snapshots = [take_snapshot(part) for part in _shown(experiment)]
        if sys.stdout.isatty():
            say(_page(snapshots))
        elif (states := list(map(_states, snapshots))) != shown:
            say(render_all(snapshots) + "\n")
            shown = states
        if not any(snapshot.is_active for snapshot in snapshots):
            return exit_status(snapshots)
        time.sleep(REFRESH_S)


def _states(snapshot: Snapshot) -> object:
    """Return what must change for another table to be printed."""
    scenes = [(each.state, len(each.attempts), each.job_id) for each in snapshot.scenes]
    jobs = [(each.job.job_id, each.job.state) for each in snapshot.queue.jobs]
    return scenes, jobs, snapshot.aggregate


def _page(snapshots: Sequence[Snapshot]) -> str:
    """Return as much of the table as fits the terminal without wrapped lines."""
    size = shutil.get_terminal_size()
    around = len(render_all(snapshots, 1).splitlines()) + 1
    lines = render_all(snapshots, size.lines - around).splitlines()
    return CLEAR + "\n".join(line[: size.columns] for line in lines)
