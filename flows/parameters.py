"""The flow's parameters, and so the form in Prefect's UI, from the options' one definition."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from flows.options import FlowOptions
from training.plan.options import flag_of

NOT_A_FLOWS = frozenset(
    {"submit", "yes", "dry_run", "status", "watch", "logs", "cancel", "verbose"}
)
"""Options of a command line that say nothing about a flow run."""
SENTENCE = re.compile(r"(?<=\.) ")


def _in_order_of_use() -> dict[str, FieldInfo]:
    """Group after group; where to run comes before how."""
    names = [name for name in FlowOptions.model_fields if name not in NOT_A_FLOWS]
    groups = list(dict.fromkeys(map(_group, names)))
    names.sort(key=lambda name: (groups.index(_group(name)), name != "cluster"))
    return {name: FlowOptions.model_fields[name] for name in names}


def _group(name: str) -> str:
    return flag_of(name, FlowOptions).group


FIELDS = _in_order_of_use()


def values_of(options: FlowOptions) -> dict[str, Any]:
    """The options as parameters of a flow run; what travels as JSON stays what it is."""
    return options.model_dump(include=set(FIELDS), mode="json")


def with_flow_parameters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of `**values` the flow's options as parameters, for Prefect to see."""
    parameters = [_parameter(name, info) for name, info in FIELDS.items()]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def title_of(name: str) -> str:
    """A field's label in the form, its group first: a form has no headings of its own."""
    group = _group(name)
    own = name.removeprefix(f"{group.lower()}_").replace("_", " ").capitalize()
    return f"{group}: {FIELDS[name].title or own}"


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    default = inspect.Parameter.empty if info.is_required() else info.default
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=list(default) if isinstance(default, tuple) else default,
        annotation=_annotation(name, info),
    )


def _annotation(name: str, info: FieldInfo) -> Any:
    """Rows for a tuple of texts; numbers keep their bounds.

    Prefect names a field after its argument; of what we say it keeps only additions to its schema.
    """
    kind = list[str] if info.annotation == tuple[str, ...] else info.annotation
    bounds = tuple(each for each in info.metadata if hasattr(each, "ge") or hasattr(each, "le"))
    patterns = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    told: JsonDict = {**patterns, "title": title_of(name), "description": _one_line(name, info)}
    return Annotated[(kind, *bounds, Field(json_schema_extra=told))]


def _one_line(name: str, info: FieldInfo) -> str:
    """The description's first sentence, and an example where the field would be empty."""
    line = SENTENCE.split(" ".join((info.description or "").split()))[0]
    values = shlex.split(flag_of(name, FlowOptions).example)[1:]
    is_empty = info.is_required() or info.default in ("", ())
    return f"{line} E.g. {' and '.join(values)}" if is_empty and values else line
