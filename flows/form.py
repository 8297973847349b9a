"""The form of one deployment: only what concerns it, and a menu of the scenes that there are."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from flows.parameters import BOX_OF, FIELDS, IN_BOX

NOT_ON_SLURM = frozenset({"workers", "scenes_per_gpu"})
ONLY_ON_SLURM = frozenset(name for name in FIELDS if name.startswith("slurm_")) | {
    "orphan_grace",
    "controller",
    "controller_time",
    "aggregate_job_name",
    "aggregate_time",
}
MOST_SCENES = 500
"""Scenes of the longest menu; more are chosen by a part of their names."""


def form_schema(
    schema: Mapping[str, Any], parameters: Mapping[str, Any], scenes: Sequence[str]
) -> dict[str, Any]:
    """Return a deployment's schema, as Prefect makes it of the flow, with what its form shows.

    `parameters` are the deployment's own; where scenes run is fixed by them. Options that are not
    shown are taken under their flat names all the same; anything else is refused: a misspelt
    parameter would make a run that crashes.
    """
    found = copy.deepcopy(dict(schema))
    hidden = {"cluster"}
    hidden |= NOT_ON_SLURM if parameters.get("cluster") == "slurm" else ONLY_ON_SLURM
    flat = {name: _flat_property(found, name) for name in sorted(hidden | BOX_OF.keys())}
    for box, fields in IN_BOX.items():
        _reduce(_definition(found, box), {name for name, each in fields.items() if each in hidden})
    found["properties"] = {
        name: _without_null(each)
        for name, each in found["properties"].items()
        if name not in hidden and not set(IN_BOX.get(name, {"": ""}).values()) <= hidden
    }
    found["additionalProperties"] = False
    found["patternProperties"] = {f"^{name}$": each for name, each in flat.items()}
    return with_scene_menu(found, scenes)


def with_scene_menu(schema: Mapping[str, Any], scenes: Sequence[str]) -> dict[str, Any]:
    """Return a form's schema with these scenes as its menu; without any, they are typed."""
    found = copy.deepcopy(dict(schema))
    menu = {"enum": list(scenes)} if 0 < len(scenes) <= MOST_SCENES else {}
    if "scenes" in found.get("properties", {}):
        found["properties"]["scenes"]["items"] = {"type": "string", **menu}
    return found


def _flat_property(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the schema of an option that the form does not show at all, or only in its box."""
    box = BOX_OF.get(name)
    if box is None:
        return dict(schema["properties"][name])
    own = next(short for short, field in IN_BOX[box].items() if field == name)
    return dict(_definition(schema, box)["properties"][own])


def _without_null(property_: Mapping[str, Any]) -> dict[str, Any]:
    """Return a property without the default null, which the form would offer as a choice."""
    return {key: value for key, value in property_.items() if (key, value) != ("default", None)}


def _definition(schema: Mapping[str, Any], box: str) -> dict[str, Any]:
    """Return the definition that a box's property refers to."""
    found: dict[str, Any] = schema["definitions"][
        schema["properties"][box]["$ref"].rpartition("/")[2]
    ]
    return found


def _reduce(definition: dict[str, Any], hidden: set[str]) -> None:
    shown = {name: each for name, each in definition["properties"].items() if name not in hidden}
    definition.update(properties=shown, additionalProperties=False)
