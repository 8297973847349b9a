"""The flow's parameters, and so the form in Prefect's UI, made from the options' definition.

What most runs need is a parameter of its own; the rest lies in boxes (`BOXES`), one parameter each,
which the UI draws with a heading. Every option is also taken under its flat name, which the form
does not show: that is what older deployments, schedules and scripts give, and `prefect.yaml`.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, create_model
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema

from flows.options import FlowOptions
from preprocess.faults import Fault, FaultsError, did_you_mean
from training.plan.options import flag_of

COMMAND_LINE_ONLY = frozenset(
    {"submit", "yes", "dry_run", "status", "watch", "logs", "cancel", "verbose"}
)
"""Options of the command line that are no parameters of a flow run."""
SENTENCE = re.compile(r"(?<=\.) ")
BOXES = {"trainer": "The trainer", "folders": "Folders", "slurm": "Slurm", "aggregate": "Aggregate"}
"""Parameters that hold a group of options, with the group's name."""
ABOUT_BOX = {
    "trainer": "Only for another trainer than the project's own.",
    "folders": "Where things lie; the settings of whoever executes the run when empty.",
    "slurm": "What is left as it is comes from the Slurm script.",
    "aggregate": "What follows the scenes: the summary, and after DiFix data the merge.",
}


def _in_order_of_use() -> dict[str, FieldInfo]:
    """Return the fields group by group; where to run comes first in its group."""
    names = [name for name in FlowOptions.model_fields if name not in COMMAND_LINE_ONLY]
    groups = [each for each in dict.fromkeys(map(_group, names)) if each not in BOXES.values()]
    groups += BOXES.values()
    names.sort(key=lambda name: (groups.index(_group(name)), name != "cluster"))
    return {name: FlowOptions.model_fields[name] for name in names}


def _group(name: str) -> str:
    return flag_of(name, FlowOptions).group


FIELDS = _in_order_of_use()
IN_BOX = {
    box: {name.removeprefix(f"{box}_"): name for name in FIELDS if _group(name) == group}
    for box, group in BOXES.items()
}
"""The options in each box by their names there: `time` of the box `slurm` is `slurm_time`."""
BOX_OF = {field: box for box, fields in IN_BOX.items() for field in fields.values()}

AS_CONFIGURED = "as configured"
QUALITIES: dict[str, tuple[str, ...]] = {
    AS_CONFIGURED: (),
    "quick look": ("train.optimization.epochs=10", "train.optimization.sample_every=2"),
    "thorough": ("train.optimization.epochs=150",),
}
QUALITY = Literal["as configured", "quick look", "thorough"]
PRESETS = {"epochs": "train.optimization.epochs", "seed": "seed"}
"""Parameters that set one key of the project's own trainer."""


def values_of(options: FlowOptions) -> dict[str, Any]:
    """Return the options as parameters of a flow run, as plain JSON values."""
    return options.model_dump(include=set(FIELDS), mode="json")


def option_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a flow run's parameters give, by their flat names.

    One that is given flat wins over its box: somebody has added it to a form's values. Raises
    FaultsError for a box that holds no names and values, or unknown names, and for an unknown
    quality.
    """
    found = {
        IN_BOX[box][name]: value
        for box in BOXES
        for name, value in _in_box(parameters, box).items()
        if value is not None
    }
    found |= {
        name: value
        for name, value in parameters.items()
        if name not in BOXES and name not in NOT_OPTIONS and value is not None
    }
    overrides = found.get("overrides") or ()
    is_list = isinstance(overrides, list | tuple)  # else the options' own check refuses it
    if is_list and (presets := _preset_overrides(parameters, overrides)):
        found["overrides"] = [*presets, *overrides]
    return found


def form_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with flat names as the form has them: those of a box inside it."""
    empty = {box for box in BOXES if options.get(box) is None}
    flat = {name: value for name, value in options.items() if name not in BOX_OF.keys() | empty}
    for box, fields in IN_BOX.items():
        given = {name: options[field] for name, field in fields.items() if field in options}
        if given:
            flat[box] = {**(options.get(box) or {}), **given}
    return flat


def _in_box(parameters: Mapping[str, Any], box: str) -> Mapping[str, Any]:
    held = parameters.get(box) or {}
    if not isinstance(held, Mapping):
        raise FaultsError([Fault(f"{box} holds names and values, not", repr(held))])
    unknown = [str(name) for name in held if name not in IN_BOX[box]]
    if unknown:
        what, known = f"{box} has no such option", IN_BOX[box]
        raise FaultsError([Fault(what, name, did_you_mean(name, known)) for name in unknown])
    return held


def _preset_overrides(parameters: Mapping[str, Any], overrides: Iterable[Any]) -> list[str]:
    """Return what the presets mean as overrides, except for keys that the overrides set."""
    quality = str(parameters.get("quality") or AS_CONFIGURED)
    if quality not in QUALITIES:
        raise FaultsError([Fault("unknown quality", quality, did_you_mean(quality, QUALITIES))])
    chosen = dict(each.split("=") for each in QUALITIES[quality])
    chosen |= {
        key: str(parameters[name])
        for name, key in PRESETS.items()
        if parameters.get(name) is not None
    }
    given = {str(each).partition("=")[0].lstrip("+~") for each in overrides}
    return [f"{key}={value}" for key, value in chosen.items() if key not in given]


def with_flow_parameters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of `**values` the flow's parameters as its signature, which Prefect reads."""
    shown = [_parameter(name, info) for name, info in FIELDS.items() if name not in BOX_OF]
    after = 1 + [each.name for each in shown].index("run_all")
    shown[after:after] = _presets()
    boxes = [_box(box) for box in BOXES]
    hidden = [_hidden(name) for name in BOX_OF]
    signature = inspect.Signature([*shown, *boxes, *hidden])
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def title_of(name: str) -> str:
    """Return a field's label in the form; of one in a box without the box's name."""
    own = name.removeprefix(f"{BOX_OF.get(name, '')}_").replace("_", " ").capitalize()
    return FIELDS[name].title or own


def full_title_of(name: str) -> str:
    """Return a field's label with its box, as texts outside of the form name it."""
    box = BOX_OF.get(name)
    return f"{BOXES[box]}: {title_of(name)}" if box else title_of(name)


def _presets() -> list[inspect.Parameter]:
    """Return the parameters that stand for overrides."""
    seed = "Seed of everything random; the configuration's when empty."
    epochs = "Passes over the training frames; the configuration's when empty."
    quality = "Quick look: 10 epochs on every second frame. Thorough: 150 epochs."
    kinds: dict[str, tuple[Any, Any, str]] = {
        "epochs": (Annotated[int, Field(ge=1, le=1_000_000)], None, epochs),
        "seed": (Annotated[int, Field(ge=0, le=2**32 - 1)], None, seed),
        "quality": (QUALITY, AS_CONFIGURED, quality),
    }
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[
                kind,
                Field(json_schema_extra={"title": name.capitalize(), "description": line}),
            ],
        )
        for name, (kind, default, line) in kinds.items()
    ]


NOT_OPTIONS = frozenset(each.name for each in _presets())


def _box(box: str) -> inspect.Parameter:
    fields: dict[str, Any] = {
        name: (_annotation(field, FIELDS[field]), _default(FIELDS[field]))
        for name, field in IN_BOX[box].items()
    }
    model = create_model(BOXES[box], **fields)
    extra: JsonDict = {"title": BOXES[box], "description": ABOUT_BOX[box]}
    annotation = Annotated[model, Field(json_schema_extra=extra)]
    return inspect.Parameter(box, inspect.Parameter.KEYWORD_ONLY, default={}, annotation=annotation)


def _hidden(name: str) -> inspect.Parameter:
    annotation = SkipJsonSchema[Any]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if info.is_required() else _default(info),
        annotation=_annotation(name, info),
    )


def _default(info: FieldInfo) -> Any:
    return list(info.default) if isinstance(info.default, tuple) else info.default


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
