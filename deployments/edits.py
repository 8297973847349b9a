"""Tell what people have edited of a deployment in Prefect's UI, and keep it: pure functions.

A deployment is described by nested dictionaries with the same keys for `prefect.yaml` and for the
server's answer. The description that was last deployed is kept on the server inside the parameter
schema: where the server says something else now, somebody has edited it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.check import Deployment
from flows.parameters import form_values

Description = dict[str, Any]
KEPT_AS = "x-deployed"
"""The key of what was last deployed, in the parameter schema; forms and validators skip it."""
SWITCHES = ("active", "paused")
"""What people switch in the UI; that a deploy leaves it needs no mention."""
NEEDED = ("work_pool", "work_queue")
"""Fields that nobody empties: they are missing where somebody has deleted the work pool."""
ENVIRONMENT = "job_variables.env"
"""The field of variables, which may be secrets."""
MISSING = object()
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Edit:
    """A field that differs from `prefect.yaml`, and whether it stays so."""

    field: str
    edited: Any
    in_file: Any
    is_kept: bool

    def __str__(self) -> str:
        was = "is kept as edited in the UI" if self.is_kept else "is reset"
        if self.field.startswith(ENVIRONMENT):
            return f"{self.field} {was}"
        if self.in_file is MISSING and not self.is_kept:
            return f"{self.field} {was}, prefect.yaml does not set it (was {_shown(self.edited)})"
        relation = "prefect.yaml has" if self.is_kept else "was"
        other = self.in_file if self.is_kept else self.edited
        now = self.edited if self.is_kept else self.in_file
        return f"{self.field} {was}: {_shown(now)} ({relation} {_shown(other)})"


def of_file(stanza: Deployment) -> Description:
    """Describe a deployment of the file."""
    limit = stanza.concurrency_limit
    return _without_empty(
        {
            "description": stanza.description,
            "tags": sorted(stanza.tags),
            "parameters": form_values(stanza.parameters),
            "work_pool": stanza.work_pool.name,
            "work_queue": stanza.work_pool.work_queue_name or "default",
            "job_variables": stanza.work_pool.job_variables,
            "paused": stanza.paused,
            "concurrency": limit.model_dump(exclude_none=True) if limit else {},
            "schedules": {
                each.slug: {"cron": each.cron, "timezone": each.timezone, "active": each.active}
                for each in stanza.schedules
            },
        }
    )


def of_server(answer: Mapping[str, Any]) -> Description:
    """Describe a deployment as the server has it, without schedules that people made in the UI."""
    limit = (answer.get("global_concurrency_limit") or {}).get("limit")
    options = _given(answer.get("concurrency_options"))
    return _without_empty(
        {
            "description": answer["description"],
            "tags": sorted(answer["tags"]),
            "parameters": answer["parameters"],
            "work_pool": answer["work_pool_name"],
            "work_queue": answer["work_queue_name"],
            "job_variables": answer["job_variables"],
            "paused": answer["paused"],
            "concurrency": {"limit": limit, **options} if limit else {},
            "schedules": {
                each["slug"]: {**_when(each["schedule"]), "active": each["active"]}
                for each in answer["schedules"]
                if each["slug"]
            },
        }
    )


def without_defaults(
    current: Description, answer: Mapping[str, Any], *others: Description | None
) -> Description:
    """Leave out parameters with their default value that the others do not name.

    The UI's form may send all parameters where somebody has changed one. Those of a box that an
    older version has deployed outside of it are put there.
    """
    named = [each["parameters"] for each in others if each]
    schema = answer["parameter_openapi_schema"]
    parameters = _without_defaults(current["parameters"], schema, schema, named)
    return {**current, "parameters": form_values(parameters)}


def _without_defaults(
    values: Mapping[str, Any],
    about: Mapping[str, Any],
    schema: Mapping[str, Any],
    named: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the values whose defaults `about`, a part of the schema, does not say."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        field = about.get("properties", {}).get(name, {})
        if "$ref" in field and isinstance(value, dict):  # a box
            box = schema["definitions"][field["$ref"].rpartition("/")[2]]
            found[name] = _without_defaults(
                value, box, schema, [each.get(name) or {} for each in named]
            )
        elif any(name in each for each in named) or value != field.get("default"):
            found[name] = value
    is_named = {name for each in named for name in each}
    return {name: value for name, value in found.items() if value != {} or name in is_named}


def last_deployed(answer: Mapping[str, Any]) -> Description | None:
    """Return what was last deployed; None when another program than ours has deployed since."""
    found: Description | None = answer["parameter_openapi_schema"].get(KEPT_AS)
    return found and {**found, "parameters": form_values(found["parameters"])}


def merged(
    base: Description | None, current: Description, wanted: Description, *, reset: bool = False
) -> tuple[Description, list[Edit]]:
    """Return the description to deploy, and the fields in which people's edits are kept or lost.

    An edit is what differs from `base`, the last deployed. It is kept; with `reset`, or where the
    base is not known, the file wins. Switches stay as they are in any case.
    """
    found: list[Edit] = []
    result = _merge("", (base or {}, current, wanted), found, knows=base is not None, reset=reset)
    return result, found


def _merge(
    path: str, sides: tuple[Any, Any, Any], found: list[Edit], *, knows: bool, reset: bool
) -> Any:
    base, current, wanted = sides
    if isinstance(current, dict) and isinstance(wanted, dict):
        names = dict.fromkeys([*wanted, *current])
        base = base if isinstance(base, dict) else {}
        parts = {
            name: _merge(
                f"{path}.{name}".lstrip("."),
                tuple(side.get(name, MISSING) for side in (base, current, wanted)),
                found,
                knows=knows,
                reset=reset,
            )
            for name in names
        }
        return {name: value for name, value in parts.items() if value is not MISSING}
    is_switch = path.rpartition(".")[2] in SWITCHES
    is_edited = current != base if knows else is_switch and current is not MISSING
    is_gone = current is MISSING and path in NEEDED
    is_kept = is_edited and (is_switch or not reset) and not is_gone
    is_lost = not knows and current is not MISSING
    if current != wanted and not is_switch and (is_edited or is_lost):
        found.append(Edit(path, current, wanted, is_kept))
    return current if is_kept else wanted


def _when(schedule: Mapping[str, Any]) -> dict[str, Any]:
    names = ("cron", "timezone") if "cron" in schedule else tuple(schedule)
    return {name: schedule[name] for name in names if name in schedule}


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (options or {}).items() if value is not None}


def _without_empty(description: Description) -> Description:
    return {name: value for name, value in description.items() if value not in ("", [], None)}


def _shown(value: Any) -> str:
    text = "nothing" if value is MISSING else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
