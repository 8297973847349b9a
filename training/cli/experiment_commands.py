"""`--status`, `--watch`, `--logs`, `--cancel`: for an experiment that runs elsewhere, or ran."""

from __future__ import annotations

import sys

from preprocess.faults import Fault, FaultsError, did_you_mean, unusable_paths_refused
from training.cli.cancel import cancel, describe_active
from training.cli.follow_log import follow, last_written
from training.cli.loop_parts import loop_process, snapshots_of
from training.cli.status_table import render_all
from training.cli.watch import exit_status, watch
from training.jobs.status import take_snapshot
from training.plan.experiments import Experiment, find_experiment
from training.plan.options import LaunchOptions
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.memory import garbage_collection_paused
from training.system.paths import resolve_roots
from training.system.typed_command import spelled


def experiment_command(options: LaunchOptions) -> int:
    """Do what one of the flags asks for and return the exit status.

    Raises FaultsError for an unknown experiment or scene, and for flags that exclude each other.
    """
    _check_single_command(options)
    with unusable_paths_refused():
        return _do(options, find_experiment(options.exp_name, resolve_roots(options.model_dump())))


def _do(options: LaunchOptions, experiment: Experiment) -> int:
    if options.logs or options.cancel:  # --status shows them below its table
        _say_warnings(experiment)
    if options.logs:
        scene = _scene_named(experiment, options.logs)
        follow(_writing(experiment, scene), scene)
        return DONE
    if options.cancel:
        return _cancel(experiment, dry_run=options.dry_run)
    return watch(experiment) if options.watch else _show(experiment)


def _scene_named(experiment: Experiment, text: str) -> str:
    """Return the scene of that name, or the only one whose name contains the text.

    Raises FaultsError where there is none, or several.
    """
    own = [part for part in experiment.parts if part.name == experiment.name]
    scenes = sorted({scene for part in own for scene in part.scenes})
    found = [scene for scene in scenes if text in scene]
    if text in scenes or len(found) == 1:
        return text if text in scenes else found[0]
    if found:
        what = f"experiment {experiment.name} has {len(found)} scenes with that in their names"
        raise FaultsError([Fault(what, text, did_you_mean(text, found))])
    what = f"experiment {experiment.name} has no such scene"
    raise FaultsError([Fault(what, text, did_you_mean(text, scenes))])


def _writing(experiment: Experiment, scene: str) -> Experiment:
    """Return the part of an experiment, under its own name, that wrote a scene's log last."""
    own = [each for each in experiment.parts if each.name == experiment.name]
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


def _check_is_no_stage(experiment: Experiment) -> None:
    """Raise FaultsError for a stage of a loop that one process runs, with all others.

    That process goes on with the other stages: to end it would end all of the loop. And for one
    setting of a sweep, whose settings have one plan and one queue.
    """
    if experiment.setting:
        sweep = experiment.name.partition("/")[0]
        remedy = f"end the sweep: {spelled('cancel')} --exp-name {sweep}"
        raise FaultsError([Fault("one plan runs all of the sweep", experiment.name, remedy)])
    process, stage = loop_process(experiment), experiment.stage
    if process and stage:
        where = "" if process.is_of_this_host() else f" on {process.host}"
        what = f"one process{where} runs all of the loop {stage.loop}"
        remedy = f"end the loop: {spelled('cancel')} --exp-name {stage.loop}"
        raise FaultsError([Fault(what, experiment.name, remedy)])


def _cancel(experiment: Experiment, *, dry_run: bool) -> int:
    _check_is_no_stage(experiment)
    if dry_run:
        active = map(describe_active, map(take_snapshot, experiment.parts))
        say("\n".join(["would be cancelled", *dict.fromkeys(active)]))
        return DONE
    return DONE if cancel(experiment.parts) else FAILED


def _show(experiment: Experiment) -> int:
    with garbage_collection_paused():
        snapshots = snapshots_of(experiment)
        say(render_all(snapshots))
        return exit_status(snapshots)
