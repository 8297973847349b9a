"""Launch training: `python training/run.py --help`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the checkout, with our packages
    from preprocess.interpreter import LAUNCHER, require

    require(LAUNCHER)
    from training.jobs.job_entry import exec_job_stage

    exec_job_stage(sys.argv[1:])  # in a Slurm job, where nothing of the launcher is needed

from training.cli.parser import parse_options, reporting_faults
from training.display.plan_text import header, not_started, overview, render
from training.display.terminal import terminal
from training.jobs.job_entry import refuse_stage
from training.plan.command_lines import launch_line
from training.plan.loop import blockers, make_plans
from training.plan.model import Plan
from training.plan.options import LaunchOptions
from training.plan.scene_decision import is_done
from training.system.console import say
from training.system.exit_status import DONE, FAILED, INTERRUPTED
from training.system.memory import garbage_collection_paused
from training.system.secrets import NOTIFY_URL, remove_secrets
from training.system.typed_command import spelled
from training.system.waiting import awaited

ONE_EXPERIMENT = {"--exp-name", "--watch", "--logs", "--cancel", "--help", "-h"}
"""Flags with which --status is not about all experiments."""
NOTHING = "nothing was started:\n"
Options = TypeVar("Options", bound=LaunchOptions)
Plans = Sequence[Plan]
"""In the order in which they run: one, with --loop those of its stages."""


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, then run here or submit; return the exit status, see `training.system.exit_status`."""
    return _main(argv, "launch")


def submit_command(argv: Sequence[str]) -> int:
    """Submit as `--submit` does; return the exit status."""
    return _main(argv, "submit", ["--submit"])


def sweep_command(argv: Sequence[str]) -> int:
    """Train a sweep as `--sweep` does, whose values stand first; return the exit status."""
    return _main(argv, "sweep", ["--sweep"])


def _main(argv: Sequence[str] | None, subcommand: str, implied: Sequence[str] = ()) -> int:
    os.environ.pop(NOTIFY_URL, None)
    remove_secrets()
    return run_command(argv, LaunchOptions, spelled(subcommand), launch, preview, implied=implied)


def run_command(
    argv: Sequence[str] | None,
    model: type[Options],
    prog: str,
    launch: Callable[[Options, Plans], int],
    preview: Callable[[Options, Plans], str] = lambda _, plans: render(plans),
    *,
    implied: Sequence[str] = (),
) -> int:
    """Run a command of the launcher or the flow and return its exit status.

    Parses the options, makes the plan (with --loop those of all stages) and hands both to `launch`,
    with --dry-run to `preview`. Faults are printed, and their status is 2. `implied`: arguments
    that `prog` stands for.
    """
    typed = sys.argv[1:] if argv is None else list(argv)
    arguments = [*implied, *typed]

    def run() -> int:
        refuse_stage(arguments)
        if _asks_for_all_experiments(arguments):
            return _list_experiments(arguments, prog)
        options = parse_options(arguments, model, prog)
        if options.only_looks:
            return _look(options)
        with garbage_collection_paused():
            plans = _checked_plans(options, launch_line(prog, typed))
            if options.dry_run:
                say(preview(options, plans))
                return DONE
        again = "" if options.submit else f"{prog} {shlex.join(typed)}"
        return _interruptible(lambda: launch(options, plans), again)

    return reporting_faults(run, before=NOTHING)


def _checked_plans(options: LaunchOptions, command_line: str) -> Plans:
    """Return the plans that `command_line` launches; raises FaultsError with all faults."""
    with awaited("scenes and configuration are read and checked"):
        return [plan.launched_by(command_line) for plan in make_plans(options)]


def _interruptible(launch: Callable[[], int], again: str) -> int:
    """Return a launch's exit status, also where Ctrl-C ends it between its steps.

    `again` is the command that goes on with an interrupted one, which is printed; empty for none.
    """
    try:
        status = launch()
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status == INTERRUPTED and again:
        say(f"to go on: {again}")
    return status


def _asks_for_all_experiments(arguments: Sequence[str]) -> bool:
    """Return whether a command line says --status and names no experiment."""
    flags = {argument.partition("=")[0] for argument in arguments}
    return "--status" in flags and not flags & ONE_EXPERIMENT


def _list_experiments(arguments: Sequence[str], prog: str) -> int:
    """Show all experiments, and return the exit status."""
    from training.cli.experiment_list import MOST_ENDED, list_experiments

    folders = [argument for argument in arguments if argument != "--status"]
    return reporting_faults(lambda: list_experiments(folders, prog, MOST_ENDED))


def _look(options: LaunchOptions) -> int:
    """Do what starts nothing, as --status with an experiment; return the exit status."""
    from training.cli.experiment_commands import experiment_command

    return reporting_faults(lambda: experiment_command(options))


def preview(options: LaunchOptions, plans: Plans) -> str:
    """Return what a dry run prints: the plans, with --submit the exact sbatch command lines too."""
    if not options.submit:
        return render(plans)
    from training.jobs.submit import preview as submission_preview

    return submission_preview(plans)


def launch(options: LaunchOptions, plans: Plans) -> int:
    """Run plans on this machine in sequence, or submit them; return the exit status."""
    if options.submit:
        from training.jobs.submit import submit

        return submit(options, plans)
    from training.execution import local

    say(overview(plans))
    local.prepare_launch(plans)
    not_done: list[str] = []
    status = DONE
    for plan in plans:
        ended = _run_unless_blocked(plan, not_done)
        if ended == INTERRUPTED:
            return INTERRUPTED
        if ended != DONE:
            status = ended
            not_done += [plan.stage.name] if plan.stage else []
    if plans[1:]:
        write_summary(plans[0])  # with the comparison of what the stages made
    return status


def _run_unless_blocked(plan: Plan, not_done: Sequence[str]) -> int:
    if found := blockers(plan, not_done):
        say(not_started(plan, found), sys.stderr)
        return FAILED
    if plan.stage:
        say(f"\n{header(plan)}")
    return _run_here(plan)


def _run_here(plan: Plan) -> int:
    """Run a plan on this machine and summarise its experiment; return the exit status."""
    from training.execution import local
    from training.report.report_client import start_report_writer

    start_report_writer(plan)
    with terminal(plan) as display:
        stop = local.run_plan(plan, display)
    write_summary(plan)
    say_table(plan)
    if stop.level:
        return INTERRUPTED
    if not all(map(is_done, plan.scenes)):
        return FAILED
    return _aggregate(plan)


def _aggregate(plan: Plan) -> int:
    """Merge what all scenes have made, if the plan says so; return the exit status."""
    if plan.aggregate is None or not plan.aggregate.command:
        return DONE
    from training.execution.merge import AggregateError
    from training.execution.run_scene import mark_cancelled
    from training.jobs.aggregate_task import aggregate_with_retries
    from training.system.scene_log import last_message
    from training.system.stop_request import stop_on_signals

    with stop_on_signals(lambda: mark_cancelled(plan)) as stop:
        try:
            with awaited(f"what the scenes have made is merged, log {plan.aggregate.log}"):
                aggregate_with_retries(plan, stop)
        except AggregateError as error:
            say(str(error), sys.stderr)
            return INTERRUPTED if stop.level else FAILED
    say(f"aggregate: done, log {plan.aggregate.log}\n    {last_message(plan.aggregate.log, 1)}")
    return DONE


def write_summary(plan: Plan) -> None:
    """Summarise the experiment; print a warning where the disk refuses."""
    from training.report.report_client import write_report_of

    try:
        with awaited("the report is written"):
            write_report_of(plan)
    except OSError as error:
        say(f"the summary can't be written: {error}", sys.stderr)


def say_table(plan: Plan) -> None:
    """Print the table of the experiment's scenes; a warning where there is none."""
    from training.report.report_client import table_of

    try:
        say(table_of(plan))
    except OSError as error:
        say(f"the table of scenes can't be shown: {error}", sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
