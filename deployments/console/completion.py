"""Completion in bash, zsh and fish, by argcomplete: `training-scheduler completion bash`."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter, SuppressCompleter
from argcomplete.shell_integration import shellcode

from deployments.console import completion_words
from deployments.console.subcommands import COMMANDS, build_parser
from training.system.console import say
from training.system.exit_status import DONE
from training.system.typed_command import PROGRAM, spelled

SHELLS = ("bash", "zsh", "fish")
HOW = """Print the shell code that completes this command's arguments with Tab. In ~/.bashrc:
eval "$(training-scheduler completion bash)"; in ~/.zshrc, after compinit:
eval "$(training-scheduler completion zsh)"; in ~/.config/fish/config.fish:
training-scheduler completion fish | source"""
FOLDERS = ("--scenes-dir", "--results-root", "--scene-data-root", "--state-root")
FILES = ("--train-script", "--train-config", "--slurm.slurm-script")


def main(argv: Sequence[str]) -> int:
    """Print the code of a shell; return the exit status."""
    parser = argparse.ArgumentParser(prog=spelled("completion"), description=HOW)
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(argv).shell
    _flags()  # kept for the first Tab
    say(shellcode([PROGRAM], shell=shell))
    return DONE


def complete(program: str) -> None:
    """Answer the shell that asks by its variables, and exit."""
    argcomplete.autocomplete(completed_parser(program), always_complete_options="long")


def completed_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, each flag with what completes its value."""
    flags = _flags()

    def add_options(command: str, parser: argparse.ArgumentParser) -> None:
        for flag in flags.get(command, ()):
            _add(parser, flag)
        if command == "completion":
            parser.add_argument("shell", choices=SHELLS)
        parser.add_argument("--help", action="store_true")

    return build_parser(program, add_options)


def _flags() -> dict[str, completion_words.Flags]:
    models = {name: each.options for name, each in COMMANDS.items() if each.options}
    return completion_words.flags_by_command(models)


def _add(parser: argparse.ArgumentParser, flag: dict[str, Any]) -> None:
    names = flag["names"]
    if flag["nargs"] == 0:
        parser.add_argument(*names, action="store_true")
        return
    more = {"nargs": flag["nargs"]} if flag["nargs"] == "*" else {}
    action = parser.add_argument(*names, choices=flag["choices"] or None, **more)
    if not flag["choices"]:
        action.completer = COMPLETERS.get(names[0], SuppressCompleter())  # type: ignore[attr-defined]


def _experiments(parsed_args: Namespace, **_: Any) -> list[str]:
    return completion_words.experiments(vars(parsed_args))


def _scenes(parsed_args: Namespace, **_: Any) -> list[str]:
    return completion_words.scenes(vars(parsed_args).get("scenes_dir"))


def _keys(**_: Any) -> list[str]:
    return [f"{key}=" for key in completion_words.configuration_keys()]


COMPLETERS: dict[str, Callable[..., Any]] = {
    "--exp-name": _experiments,
    "--compare": _experiments,
    "--scene-name-includes": _scenes,
    "SCENE": _scenes,
    "--overrides": _keys,
    "--sweep": _keys,
    **dict.fromkeys(FOLDERS, DirectoriesCompleter()),
    **dict.fromkeys(FILES, FilesCompleter()),
}
"""What completes the value of a flag; of the others only choices are completed."""
