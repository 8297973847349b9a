"""The flow's parameters, and so the form in Prefect's UI, from the options' one definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from flows.options import FlowOptions

NOT_A_FLOWS = frozenset({"submit", "yes", "dry_run", "status", "watch", "logs", "cancel"})
"""Options of a command line that say nothing about a flow run."""
FIELDS = {name: info for name, info in FlowOptions.model_fields.items() if name not in NOT_A_FLOWS}


def values_of(options: FlowOptions) -> dict[str, Any]:
    """The options as parameters of a flow run; what travels as JSON stays what it is."""
    return options.model_dump(include=set(FIELDS), mode="json")


def with_flow_parameters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of `**values` the flow's options as parameters, for Prefect to see.

    The form takes names, types, bounds and defaults from the signature, and descriptions from the
    docstring's `Args:`.
    """
    parameters = [_parameter(name, info) for name, info in FIELDS.items()]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    lines = [f"    {name}: {_one_line(info)}" for name, info in FIELDS.items()]
    function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *lines])
    return function


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    default = inspect.Parameter.empty if info.is_required() else info.default
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=list(default) if isinstance(default, tuple) else default,
        annotation=_annotation(info),
    )


def _annotation(info: FieldInfo) -> Any:
    """Rows for a tuple of texts; numbers keep their bounds."""
    if info.annotation == tuple[str, ...]:
        return list[str]
    bounds = tuple(each for each in info.metadata if hasattr(each, "ge") or hasattr(each, "le"))
    return Annotated[(info.annotation, *bounds)] if bounds else info.annotation


def _one_line(info: FieldInfo) -> str:
    return " ".join((info.description or "").split())
