"""`status`, `logs` and `cancel` as commands of their own, each with the options that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from preprocess.faults import Fault, FaultsError
from training.cli.experiment_commands import experiment_command
from training.cli.experiment_list import MOST_ENDED, list_experiments
from training.cli.parser import parse_options, reporting_faults
from training.plan.options import Flag, LaunchOptions, checked_options, flag_of
from training.system.typed_command import spelled

RESULTS = flag_of("results_root", LaunchOptions)
STATE = flag_of("state_root", LaunchOptions)
CONFIG = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StatusOptions(BaseModel):
    """Which experiment to show, and where its files are."""

    model_config = CONFIG

    exp_name: Annotated[str, Flag("What to show", "--exp-name my_exp")] = ""
    """The experiment; without it those that have something running and the last that ended."""

    watch: Annotated[bool, Flag("What to show", "--watch --exp-name my_exp")] = False
    """Refresh the table until everything has ended; Ctrl-C stops watching."""

    results_root: Annotated[str, RESULTS] = ""
    """Where results are (TS_RESULTS_ROOT)."""

    state_root: Annotated[str, STATE] = ""
    """Where plans are (TS_STATE_ROOT)."""


class LogsOptions(BaseModel):
    """Which log to follow, and where it is."""

    model_config = CONFIG

    logs: Annotated[str, Flag("What to show", "hi4d_pair17_dance --exp-name my_exp", "SCENE")]
    """The scene, by its name or a part that no other's has."""

    exp_name: Annotated[str, Flag("What to show", "--exp-name my_exp")]
    """The experiment."""

    results_root: Annotated[str, RESULTS] = ""
    """Where results are (TS_RESULTS_ROOT)."""

    state_root: Annotated[str, STATE] = ""
    """Where plans are (TS_STATE_ROOT)."""


class CancelOptions(BaseModel):
    """Which experiment to end, and where its files are."""

    model_config = CONFIG

    exp_name: Annotated[str, Flag("What to end", "--exp-name my_exp")]
    """The experiment."""

    dry_run: Annotated[bool, Flag("What to end", "--dry-run")] = False
    """Print what would be ended; end nothing."""

    results_root: Annotated[str, RESULTS] = ""
    """Where results are (TS_RESULTS_ROOT)."""

    state_root: Annotated[str, STATE] = ""
    """Where plans are (TS_STATE_ROOT)."""


def status(argv: Sequence[str]) -> int:
    """Show how an experiment stands, or without a name which there are.

    Returns the exit status: 0 all done, 3 something is queued or running, 1 neither.
    """
    prog, description = spelled("status"), "Show how the scenes of an experiment stand."

    def show(options: StatusOptions) -> int:
        if options.exp_name:
            return _look(options, status=True)
        if options.watch:
            remedy = "name it with --exp-name"
            raise FaultsError([Fault("--watch shows one experiment", remedy=remedy)])
        return list_experiments(argv, prog, MOST_ENDED)

    return reporting_faults(lambda: show(parse_options(argv, StatusOptions, prog, description)))


def logs(argv: Sequence[str]) -> int:
    """Follow a scene's log until its attempt ends; return the exit status."""
    prog, description = spelled("logs"), "Print a scene's log and follow it until its attempt ends."
    return reporting_faults(lambda: _look(parse_options(argv, LogsOptions, prog, description)))


def cancel(argv: Sequence[str]) -> int:
    """End what of an experiment is queued or running; return 0 when nothing is left of it."""
    prog, description = spelled("cancel"), "End everything of an experiment that goes on."
    return reporting_faults(
        lambda: _look(parse_options(argv, CancelOptions, prog, description), cancel=True)
    )


def _look(options: BaseModel, **what: bool) -> int:
    """Do what the flags of the launcher with the same names do; raises FaultsError."""
    return experiment_command(checked_options(LaunchOptions, {**options.model_dump(), **what}))
