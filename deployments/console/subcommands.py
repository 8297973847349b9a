"""The subcommands of `training-scheduler`, and which function does each."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from preprocess.interpreter import FLOW, LAUNCHER, TRAINER

DESCRIPTION = "Train one 3D-Gaussian-splat model per multi-human scene, here or on Slurm."


@dataclass(frozen=True)
class Command:
    """A subcommand: what it does, and the function and options that do it."""

    summary: str
    function: str
    """`module:name` of a function of the remaining arguments that returns the exit status."""
    options: str = ""
    """`module:name` of the model of its options, which a shell completes; none without."""
    packages: tuple[str, ...] = LAUNCHER
    """What must be importable; else one line says what is missing."""


COMMANDS = {
    "train": Command(
        "train scenes as a Prefect flow, on this machine or on Slurm",
        "flows.train:main",
        "flows.options:FlowOptions",
        FLOW,
    ),
    "launch": Command(
        "train scenes on this machine, without Prefect",
        "training.run:main",
        "training.plan.options:LaunchOptions",
    ),
    "submit": Command(
        "submit scenes to Slurm as a job array, and leave",
        "training.run:submit_command",
        "training.plan.options:LaunchOptions",
    ),
    "sweep": Command(
        "train scenes with every combination of some settings, on this machine or on Slurm",
        "training.run:sweep_command",
        "training.plan.options:LaunchOptions",
    ),
    "status": Command(
        "show how an experiment stands, or which experiments go on",
        "training.cli.experiment_subcommands:status",
        "training.cli.experiment_subcommands:StatusOptions",
    ),
    "logs": Command(
        "follow the log of a scene",
        "training.cli.experiment_subcommands:logs",
        "training.cli.experiment_subcommands:LogsOptions",
    ),
    "cancel": Command(
        "end everything of an experiment that is queued or running",
        "training.cli.experiment_subcommands:cancel",
        "training.cli.experiment_subcommands:CancelOptions",
    ),
    "report": Command(
        "write the report of an experiment, or compare two",
        "flows.report:main",
        "flows.report:ReportOptions",
    ),
    "experiments": Command(
        "list experiments: how many scenes are done, failed, running",
        "training.cli.experiment_list:command",
        "training.cli.experiment_list:ListOptions",
    ),
    "scenes": Command(
        "list scenes: camera, and whether their data is there",
        "training.cli.scene_list:command",
        "training.cli.scene_list:SceneListOptions",
    ),
    "check": Command(
        "check scenes' data before a launch, and draw a picture of each",
        "training.cli.check:command",
        "training.cli.check:CheckOptions",
        TRAINER,
    ),
    "view": Command(
        "show a scene in 3D in the browser: people, cameras, before and after training",
        "training.viewer.command:view",
        "training.viewer.command:ViewOptions",
    ),
    "ui": Command(
        "serve Prefect's UI with the deployments, until Ctrl-C",
        "deployments.serve:main",
        packages=FLOW,
    ),
    "completion": Command(
        "print the shell code that completes this command's arguments",
        "deployments.console.completion:main",
        packages=("argcomplete", "yaml"),
    ),
}


def build_parser(
    program: str, add_options: Callable[[str, argparse.ArgumentParser], None] = lambda *_: None
) -> argparse.ArgumentParser:
    """Return the parser of what comes before a subcommand's own arguments.

    `add_options` is called with each subcommand and its parser, which has no options yet.
    """
    parser = argparse.ArgumentParser(prog=program, description=DESCRIPTION)
    parser.add_argument("--version", action="store_true", help="show versions and exit")
    choices = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in COMMANDS.items():
        add_options(name, choices.add_parser(name, help=command.summary, add_help=False))
    parser.epilog = f"{program} COMMAND --help lists a command's options."
    return parser
