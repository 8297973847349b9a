"""The flow's parameters, and so the form in Prefect's UI, made from the options' definition."""

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

COMMAND_LINE_ONLY = frozenset(
    {"submit", "yes", "dry_run", "status", "watch", "logs", "cancel", "verbose"}
)
"""Options of the command line that are no parameters of a flow run."""
SENTENCE = re.compile(r"(?<=\.) ")


def _in_order_of_use() -> dict[str, FieldInfo]:
    """Return the fields group by group; where to run comes first in its group."""
    names = [name for name in FlowOptions.model_fields if name not in COMMAND_LINE_ONLY]
    groups = list(dict.fromkeys(map(_group, names)))
    names.sort(key=lambda name: (groups.index(_group(name)), name != "cluster"))
    return {name: FlowOptions.model_fields[name] for name in names}


def _group(name: str) -> str:
    return flag_of(name, FlowOptions).group


FIELDS = _in_order_of_use()


def values_of(options: FlowOptions) -> dict[str, Any]:
    """Return the options as parameters of a flow run, as plain JSON values."""
    return options.model_dump(include=set(FIELDS), mode="json")


def with_flow_parameters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of `**values` the flow's options as its signature, which Prefect reads."""
    parameters = [_parameter(name, info) for name, info in FIELDS.items()]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def title_of(name: str) -> str:
    """Return a field's label in the form, with its group: flat parameters have no headings."""
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
    """Return a parameter's type: a list of rows for a tuple of texts, bounds for a number.

    Prefect drops a field's own title and description; `json_schema_extra` reaches the form.
    """
    kind = list[str] if info.annotation == tuple[str, ...] else info.annotation
    bounds = tuple(each for each in info.metadata if hasattr(each, "ge") or hasattr(each, "le"))
    patterns = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    extra: JsonDict = {**patterns, "title": title_of(name), "description": _one_line(name, info)}
    return Annotated[(kind, *bounds, Field(json_schema_extra=extra))]


def _one_line(name: str, info: FieldInfo) -> str:
    """Return a description's first sentence, with an example if the field is empty by default."""
    line = SENTENCE.split(" ".join((info.description or "").split()))[0]
    values = shlex.split(flag_of(name, FlowOptions).example)[1:]
    is_empty = info.is_required() or info.default in ("", ())
    return f"{line} E.g. {' and '.join(values)}" if is_empty and values else line
