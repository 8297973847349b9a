"""Command lines built from options models: one flag for each field, the same for every program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from preprocess.faults import Fault, FaultsError, did_you_mean, nearest
from training.plan.options import checked_options, flag_name, flag_of
from training.system.console import escape_unencodable, open_closed_streams, say
from training.system.exit_status import INTERRUPTED, USAGE
from training.system.typed_command import spelled

Model = TypeVar("Model", bound=BaseModel)
LAUNCH = "Train one 3D-Gaussian-splat model per scene."
FLOW_ONLY = ("--cluster", "--controller", "--controller-time", "--verbose", "--notify")
"""Flags of the flow's command alone, whose options stand above this folder."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises FaultsError where argparse would print the usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise FaultsError([Fault(message, remedy=f"see {self.prog} --help")])


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps help at the terminal's width and begins a line for each example."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        wrap = super()._split_lines
        return [line for part in text.splitlines() for line in wrap(part, width)]


def reporting_faults(body: Callable[[], int], before: str = "") -> int:
    """Return the exit status of a command's body; its faults are printed, and their status is 2.

    `before` is printed above the faults.
    """
    open_closed_streams()
    escape_unencodable()
    try:
        return body()
    except FaultsError as error:
        say(f"{before}{error}", sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


def build_parser(
    model: type[BaseModel], prog: str, description: str = LAUNCH
) -> argparse.ArgumentParser:
    """Return a parser with one flag for each field of `model`, in groups, each with an example."""
    parser = _Parser(
        prog=prog,
        usage=" ".join([prog, *_required(model), "[options]"]),
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    groups: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        flag = flag_of(field, model)
        if flag.group not in groups:
            groups[flag.group] = parser.add_argument_group(flag.group)
        name, help_text = flag_name(field, model), _help_text(info, flag.example)
        if name.startswith("-"):
            more = {"dest": field, **argument_of(info)}
            groups[flag.group].add_argument(name, help=help_text, **more)
        else:
            several = {} if info.is_required() else {"nargs": "*", "default": argparse.SUPPRESS}
            groups[flag.group].add_argument(field, metavar=name, help=help_text, **several)
    return parser


def _required(model: type[BaseModel]) -> list[str]:
    """Return what a command line can't do without, as its usage shows it."""
    names = [
        flag_name(field, model) for field, info in model.model_fields.items() if info.is_required()
    ]
    return [f"{name} TEXT" if name.startswith("-") else name for name in names]


def parse_options(
    argv: Sequence[str] | None, model: type[Model], prog: str, description: str = LAUNCH
) -> Model:
    """Return the options that a command line gives, `sys.argv` for None.

    Raises FaultsError for a wrong one, SystemExit(0) for --help.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        values, unknown = build_parser(model, prog, description).parse_known_args(arguments)
    except FaultsError as error:  # that a flag is missing may be since another one is misspelt
        misspelt = [_unknown_argument([flag], model, prog) for flag in _misspelt(arguments, model)]
        raise FaultsError([*misspelt, *error.faults]) from error
    if unknown:
        raise FaultsError([_unknown_argument(unknown, model, prog)])
    given = vars(values)
    empty = [field for field, value in given.items() if value == []]
    if faults := [
        Fault(f"{flag_name(field, model)} is followed by no value", remedy=f"e.g. {flag.example}")
        for field in empty
        if (flag := flag_of(field, model)).needs_items
    ]:
        raise FaultsError(faults)
    return checked_options(model, given)


def _misspelt(arguments: Sequence[str], model: type[BaseModel]) -> list[str]:
    """Return the flags among the arguments that the model has no field for."""
    known = {flag_name(field, model) for field in model.model_fields} | {"--help", "--"}
    known |= {name.replace("--", "--no-", 1) for name in known}
    flags = [each.split("=")[0] for each in arguments if each.startswith("--")]
    return [flag for flag in flags if flag not in known]


def _unknown_argument(unknown: Sequence[str], model: type[BaseModel], prog: str) -> Fault:
    flag = unknown[0].split("=")[0]
    if flag in FLOW_ONLY:
        return Fault(f"{flag} belongs to {spelled('train')}", " ".join(unknown), "use that command")
    close = nearest(flag, [flag_name(field, model) for field in model.model_fields])
    remedy = did_you_mean(flag, close) if close else f"see {prog} --help"
    return Fault("unknown argument", " ".join(unknown), remedy)


def command_line_of(options: BaseModel) -> tuple[str, ...]:
    """Return the flags that give these options again when `parse_options` reads them.

    Options with their default value are left out. An item that is `--` alone can't be given on a
    command line.
    """
    model = type(options)
    parts: list[str] = []
    for field, info in model.model_fields.items():
        value = getattr(options, field)
        if info.is_required() or value != info.default:
            parts += _flag_and_value(flag_name(field, model), value)
    return tuple(parts)


def _flag_and_value(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    items = [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
    if any(item.startswith("-") for item in items):  # would be taken for a flag
        return [f"{flag}={item}" for item in items]
    return [flag, *items]


def argument_of(info: FieldInfo) -> dict[str, Any]:
    """Return argparse's keywords for a field; what is not given is left to the model's default."""
    common: dict[str, Any] = {"default": argparse.SUPPRESS}
    if info.annotation is bool:
        # Only what is on by default needs a flag that switches it off.
        return common | {"action": argparse.BooleanOptionalAction if info.default else "store_true"}
    if info.annotation is int:
        return common | {"metavar": "N"}
    if get_origin(info.annotation) is Literal:
        return common | {"metavar": "|".join(get_args(info.annotation))}
    if info.annotation is str:
        return common | {"metavar": "TEXT", "required": info.is_required()}
    return common | {"nargs": "*", "action": "extend", "metavar": "ITEM"}


def _help_text(info: FieldInfo, example: str) -> str:
    empty = info.is_required() or info.default in ("", (), False)
    default = "" if empty else f" (default: {info.default})"
    text = " ".join((info.description or "").split())
    return f"{text}{default}\ne.g. {example}".replace("%", "%%")
