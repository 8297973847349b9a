"""Launch training: `python training/run.py --help`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the checkout, with our packages
    from training.cli.interpreter import LAUNCHER, require

    require(LAUNCHER)
    from training.jobs.job_entry import exec_job_stage

    exec_job_stage(sys.argv[1:])  # in a Slurm job, where nothing of the launcher is needed

from preprocess.faults import FaultsError
from training.cli.parser import parse_options
from training.display.plan_text import header, render
from training.display.terminal import terminal
from training.jobs.job_entry import refuse_stage
from training.plan.make_plan import make_plan
from training.plan.model import Plan
from training.plan.options import LaunchOptions
from training.plan.scene_decision import is_done
from training.system.console import escape_unencodable, say
from training.system.exit_status import DONE, FAILED, INTERRUPTED, USAGE

NOTIFY_URL = "TS_NOTIFY_URL"
"""A secret of the flow; trainers and jobs of the launcher would inherit it."""
Options = TypeVar("Options", bound=LaunchOptions)


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, then run here or submit; return the exit status, see `training.system.exit_status`."""
    os.environ.pop(NOTIFY_URL, None)
    return run_command(argv, LaunchOptions, "training/run.py", launch, preview)


def run_command(
    argv: Sequence[str] | None,
    model: type[Options],
    prog: str,
    launch: Callable[[Options, Plan], int],
    preview: Callable[[Options, Plan], str] = lambda _, plan: render(plan),
) -> int:
    """Run a command of the launcher or the flow and return its exit status.

    Parses the options, makes the plan and hands both to `launch`, with --dry-run to `preview`.
    Faults are printed, and their status is 2.
    """
    escape_unencodable()
    arguments = sys.argv[1:] if argv is None else list(argv)
    before = "nothing was started:\n"
    try:
        refuse_stage(arguments)
        options = parse_options(arguments, model, prog)
        if options.only_looks:
            before = ""
            from training.cli.experiment_commands import experiment_command

            return experiment_command(options)
        plan = make_plan(options)
        if options.dry_run:
            say(preview(options, plan))
            return DONE
        return launch(options, plan)
    except FaultsError as error:
        say(f"{before}{error}", sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


def preview(options: LaunchOptions, plan: Plan) -> str:
    """Return what a dry run prints: the plan, and with --submit the exact sbatch command lines."""
    if not options.submit:
        return render(plan)
    from training.jobs.submit import preview as submission_preview

    return submission_preview(plan)


def launch(options: LaunchOptions, plan: Plan) -> int:
    """Run a plan on this machine and summarise its experiment, or submit it; return the status."""
    if options.submit:
        from training.jobs.submit import submit

        return submit(options, plan)
    from training.execution import local
    from training.report.summary import table

    say(header(plan))
    local.prepare_launch(plan)
    with terminal(plan) as display:
        stop = local.run_plan(plan, display)
    write_summary(plan)
    say(table(*plan.experiment))
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
    from training.jobs.aggregate_task import aggregate_in_process
    from training.system.scene_log import last_message
    from training.system.stop_request import stop_on_signals

    with stop_on_signals(lambda: mark_cancelled(plan)) as stop:
        try:
            aggregate_in_process(plan, stop)
        except AggregateError as error:
            say(str(error), sys.stderr)
            return INTERRUPTED if stop.level else FAILED
    say(f"aggregate: done, log {plan.aggregate.log}\n    {last_message(plan.aggregate.log, 1)}")
    return DONE


def write_summary(plan: Plan) -> None:
    """Summarise the experiment; print a warning where the disk refuses."""
    from training.report.summary import summarise

    try:
        summarise(*plan.experiment)
    except OSError as error:
        say(f"the summary can't be written: {error}", sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
