"""The console command: finds the subcommand, and imports and calls its function."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from deployments.console.subcommands import COMMANDS, build_parser
from preprocess.interpreter import require
from training.system.console import say
from training.system.exit_status import DONE, USAGE
from training.system.typed_command import PROGRAM, set_program

COMPLETES = "_ARGCOMPLETE"
"""Set by the shell function of `training-scheduler completion` when Tab is pressed."""


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Do a subcommand and return its exit status; `program` is how the user typed this command."""
    set_program(program)
    if COMPLETES in os.environ:
        from deployments.console.completion import complete

        complete(program)
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None:
        return _without_subcommand(arguments, program)
    require(command.packages)
    module, _, name = command.function.partition(":")
    return int(getattr(import_module(module), name)(arguments[1:]))


def _without_subcommand(arguments: Sequence[str], program: str) -> int:
    """Show help or versions; refuse what is no subcommand."""
    parser = build_parser(program)
    if not arguments:
        parser.print_help(sys.stderr)
        return USAGE
    if not arguments[0].startswith("-"):
        from preprocess.faults import Fault, did_you_mean

        fault = Fault("no such command", arguments[0], did_you_mean(arguments[0], COMMANDS))
        say(str(fault), sys.stderr)
        return USAGE
    if parser.parse_args(arguments).version:
        from deployments.console.version import versions

        say(versions())
    return DONE
