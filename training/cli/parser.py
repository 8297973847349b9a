"""The command line, built from the options' one definition."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel

from preprocess.faults import Fault, FaultsError, did_you_mean, nearest
from training.plan.options import checked_options, flag_name, flag_of

Model = TypeVar("Model", bound=BaseModel)
LAUNCH = "Train one 3D-Gaussian-splat model per scene."


class _Parser(argparse.ArgumentParser):
    """Raises FaultsError where argparse would exit, and names the nearest flag."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            raise FaultsError([Fault(message, remedy=f"see {self.prog} --help")])
        flag = unknown.split()[0].split("=")[0]
        close = nearest(flag, self._option_string_actions)
        remedy = did_you_mean(flag, close) if close else f"see {self.prog} --help"
        raise FaultsError([Fault("unknown argument", unknown, remedy)])


def build_parser(
    model: type[BaseModel], prog: str, description: str = LAUNCH
) -> argparse.ArgumentParser:
    """One flag for each field of `model`, in groups, with default and an example each."""
    parser = _Parser(
        prog=prog,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    groups: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        flag = flag_of(field, model)
        if flag.group not in groups:
            groups[flag.group] = parser.add_argument_group(flag.group)
        groups[flag.group].add_argument(
            flag_name(field, model),
            dest=field,
            help=_help_text(info.description or "", info, flag.example),
            **_argument(info, field),
        )
    return parser


def parse_options(
    argv: Sequence[str] | None, model: type[Model], prog: str, description: str = LAUNCH
) -> Model:
    """Options from a command line, `sys.argv` for None.

    Raises FaultsError for a wrong one, SystemExit(0) for --help.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser(model, prog, description)
    return checked_options(model, vars(parser.parse_args(arguments)))


def command_line_of(options: BaseModel) -> tuple[str, ...]:
    """The flags that say what these options say; `parse_options` gives the options back.

    What has its default is left out. Items that are `--` alone can't be said on a command line.
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


def _argument(info: Any, field: str) -> dict[str, Any]:
    """Keywords for argparse; what isn't given stays out, so that the model's default holds."""
    common: dict[str, Any] = {"default": argparse.SUPPRESS}
    if info.annotation is bool:
        both_ways = field == "auto_schedule_aggregate"
        return common | {"action": argparse.BooleanOptionalAction if both_ways else "store_true"}
    if info.annotation is int:
        return common | {"metavar": "N"}
    if get_origin(info.annotation) is Literal:
        return common | {"metavar": "|".join(get_args(info.annotation))}
    if info.annotation is str:
        return common | {"metavar": "TEXT", "required": info.is_required()}
    return common | {"nargs": "*", "action": "extend", "metavar": "ITEM"}


def _help_text(description: str, info: Any, example: str) -> str:
    empty = info.is_required() or info.default in ("", (), False)
    default = "" if empty else f" (default: {info.default})"
    return f"{description}{default}\ne.g. {example}".replace("%", "%%")
