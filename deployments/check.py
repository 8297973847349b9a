"""Check `prefect.yaml` before anything is deployed: `python -m deployments.check [FILE]`.

Prefect ignores misspelt keys and unknown parameters, finds a wrong override only when a run has
started, and a wrong schedule only when it has taken other deployments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

if __name__ == "__main__":
    from preprocess.interpreter import FLOW, require

    require(FLOW)

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deployments import POOL
from flows.options import FlowOptions
from flows.parameters import FIELDS, option_values
from flows.server.settings import forbid_tracking, read_settings
from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.roots import CHECKOUT
from training.plan.launch import misplaced_flags
from training.plan.sweep import in_settings, settings_of
from training.plan.train_script import OWN_CONFIG, load_train_scripts
from training.system.console import say
from training.system.exit_status import DONE, USAGE
from training.system.typed_command import spelled

PREFECT_FILE = CHECKOUT / "deployments" / "prefect.yaml"
FLOW_NAMES = {
    "flows.flow:train_scenes": "train-scenes",
    "flows.flow:difix_data": "difix-data",
    "flows.flow:difix_loop": "difix-loop",
}
STEP = dict[str, dict[str, Any]]
Name = Annotated[str, Field(pattern=r"^[^/%&<>]+$")]
"""A name as Prefect takes it."""


def _known_entrypoint(value: str) -> str:
    if value not in FLOW_NAMES:
        raise ValueError(did_you_mean(value, FLOW_NAMES))
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Pool(_Strict):
    """The work pool in which runs of a deployment wait."""

    name: Name
    work_queue_name: str = ""
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Schedule(_Strict):
    """A schedule; those that people make in the UI have no `slug`."""

    slug: str
    cron: str
    timezone: str = "UTC"
    active: bool


class ConcurrencyLimit(_Strict):
    """How many runs at once, and what happens to one more."""

    limit: Annotated[int, Field(ge=1)]
    collision_strategy: Literal["CANCEL_NEW", "ENQUEUE"]
    grace_period_seconds: int | None = None


class Deployment(_Strict):
    """A deployment: one flow with one set of parameters."""

    name: Name
    entrypoint: Annotated[str, AfterValidator(_known_entrypoint)]
    work_pool: Pool
    schedules: list[Schedule]  # [] for none, or prefect deploy asks on a terminal
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    version: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    concurrency_limit: ConcurrencyLimit | None = None
    paused: bool = False
    build: list[STEP] | None = None
    push: list[STEP] | None = None
    pull: list[STEP] | None = None
    """Steps of its own instead of the file's, for runs that don't find this checkout."""

    @property
    def full_name(self) -> str:
        """The name in Prefect and its UI: flow/deployment."""
        return f"{FLOW_NAMES[self.entrypoint]}/{self.name}"


class PrefectFile(_Strict):
    """The whole file."""

    name: str = ""
    build: list[STEP]
    push: list[STEP] = Field(default_factory=list)
    pull: list[STEP]
    definitions: dict[str, Any] = Field(default_factory=dict)
    deployments: Annotated[list[Deployment], Field(min_length=1)]


MODELS: dict[str, type[BaseModel]] = {
    "deployments": Deployment,
    "work_pool": Pool,
    "concurrency_limit": ConcurrencyLimit,
    "schedules": Schedule,
}


def load_prefect_file(path: Path = PREFECT_FILE) -> PrefectFile:
    """Read and check a file; raises FaultsError with all faults at once."""
    content = _read_yaml(path)
    faults = list(_parameter_faults(content))
    try:
        found = PrefectFile.model_validate(content)
    except ValidationError as error:
        raise FaultsError([*(_fault(content, item) for item in error.errors()), *faults]) from error
    faults += _duplicate_name_faults(found.deployments)
    faults += _schedule_faults(found.deployments)
    if faults:
        raise FaultsError(faults)
    return found


def as_build_step(file: str) -> dict[str, str]:
    """Check a file as the first build step of `prefect deploy`; return where the checkout is."""
    load_prefect_file(CHECKOUT / file)
    return {"checkout": str(CHECKOUT)}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FaultsError([Fault(f"{path} can't be read as YAML", str(error))]) from error
    if not isinstance(content, dict):
        raise FaultsError(
            [Fault(f"{path} is not a mapping", remedy="see deployments/prefect.yaml")]
        )
    return content


def _fault(content: dict[str, Any], item: Any) -> Fault:
    """Describe one of pydantic's errors about the file's structure, located by deployment."""
    location = list(item["loc"])
    where = _where(content, location)
    if item["type"] == "missing":
        return Fault(f"{where} is missing", remedy="compare with another deployment of the file")
    if item["type"] != "extra_forbidden":
        return Fault(where, repr(item["input"]), item["msg"].removeprefix("Value error, "))
    if location[-3:-1] and location[-3] == "schedules" and location[-1] == "parameters":
        remedy = "the UI loses them: copy the deployment, one for each set of parameters"
        return Fault(f"{where}: a schedule can't have its own", repr(item["input"]), remedy)
    return Fault(f"{where}: unknown key", repr(item["input"]), _nearest_key(location))


def _nearest_key(location: list[Any]) -> str:
    for part in reversed(location[:-1]):
        if part in MODELS:
            return did_you_mean(str(location[-1]), MODELS[part].model_fields)
    return did_you_mean(str(location[-1]), PrefectFile.model_fields)


def _where(content: dict[str, Any], location: list[Any]) -> str:
    if location[:1] != ["deployments"] or len(location) == 1:
        return ".".join(map(str, location))
    return f"{_name_of(content, location[1])}: {'.'.join(map(str, location[2:]))}"


def _name_of(content: dict[str, Any], index: int) -> str:
    """Return a deployment's full name, as far as its stanza has one."""
    stanza = content["deployments"][index]
    if not isinstance(stanza, dict):
        return f"deployment {index + 1}"
    flow = FLOW_NAMES.get(str(stanza.get("entrypoint")), "?")
    return f"{flow}/{stanza.get('name', '?')}"


def _parameter_faults(content: dict[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with the parameters of every deployment."""
    stanzas = content.get("deployments")
    for index, stanza in enumerate(stanzas if isinstance(stanzas, list) else []):
        if isinstance(stanza, dict) and isinstance(stanza.get("parameters", {}), dict):
            name = _name_of(content, index)
            yield from _faults_of_parameters(
                name, stanza.get("parameters", {}), bool(stanza.get("schedules"))
            )


def _faults_of_parameters(name: str, given: dict[str, Any], has_schedule: bool) -> Iterator[Fault]:
    try:
        given = option_values(given)
    except FaultsError as error:
        yield from (replace(fault, what=f"{name}: {fault.what}") for fault in error.faults)
        return
    for key in given:
        if key not in FIELDS:
            remedy = did_you_mean(str(key), FIELDS)
            yield Fault(f"{name}: unknown parameter", str(key), remedy)
    known = {key: value for key, value in given.items() if key in FIELDS}
    asked = {} if has_schedule else {"exp_name": "asked-for-in-the-form"}
    try:  # as JSON, and strictly: what the server takes, not what Python would make of it
        options = FlowOptions.model_validate_json(
            json.dumps({**asked, **known}, default=str), strict=True
        )
    except ValidationError as error:
        yield from (_value_fault(name, item) for item in error.errors())
        return
    for fault in misplaced_flags(options):
        yield replace(fault, what=f"{name}: {fault.what}")
    yield from _override_faults(name, options)


def _override_faults(name: str, options: FlowOptions) -> Iterator[Fault]:
    """Yield overrides that the project's own trainer does not take; others are not here to ask.

    Those of a sweep too.
    """
    if options.train_script != FlowOptions.model_fields["train_script"].default:
        return
    try:
        settings = settings_of(options.sweep, options.overrides, OWN_CONFIG)
        scripts = load_train_scripts(options, None, settings)
        faults = in_settings(settings, [script.faults for script in scripts])
    except FaultsError as error:
        faults = list(error.faults)
    yield from (replace(fault, what=f"{name}: {fault.what}") for fault in faults)


def _schedule_faults(deployments: Iterable[Deployment]) -> Iterator[Fault]:
    """Yield schedules that Prefect would refuse, or that never fire."""
    forbid_tracking()
    for deployment in deployments:
        for schedule in deployment.schedules:
            from flows.adapters.prefect_deploy_adapter import next_cron_time  # takes a second

            try:
                next_cron_time(schedule.cron, schedule.timezone)
            except ValueError as error:
                what = f"{deployment.full_name}: schedule {schedule.slug} is not valid"
                value = f"{schedule.cron!r} in {schedule.timezone!r}"
                yield Fault(what, value, _reason(error))


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
    return str(error)


def _value_fault(name: str, item: Any) -> Fault:
    if item["type"] == "missing":
        remedy = "a schedule can't ask anybody: give it a value"
        return Fault(f"{name}: {item['loc'][0]} is missing", remedy=remedy)
    field = ".".join(map(str, item["loc"]))
    remedy = item["msg"].removeprefix("Value error, ")
    if item["type"] == "string_type":
        remedy += "; put it in quotes (YAML reads 3:00:00 as a number)"
    return Fault(f"{name}: parameter {field} is not valid", repr(item["input"]), remedy)


def _duplicate_name_faults(deployments: Iterable[Deployment]) -> Iterator[Fault]:
    names = [each.full_name for each in deployments]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Fault("two deployments have one name", name, "the second would replace the first")


def pools_of(deployments: Iterable[Deployment]) -> dict[str, list[Deployment]]:
    """Return the deployments of each work pool."""
    found: dict[str, list[Deployment]] = {}
    for each in deployments:
        found.setdefault(each.work_pool.name, []).append(each)
    return found


def unserved_notes(deployments: Iterable[Deployment], served: Collection[str]) -> list[str]:
    """Return a line for each work pool that is not among the served ones, with its deployments."""
    return [
        f"work pool {name}: nobody executes runs of {', '.join(each.full_name for each in found)}"
        f"\n    -> {spelled('ui')} --pool {name}, or prefect worker start --pool {name}"
        for name, found in pools_of(deployments).items()
        if name not in served
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Check a file; exit status 2 for faults, each printed with its remedy."""
    arguments = sys.argv[1:] if argv is None else argv
    path = Path(arguments[0]) if arguments else PREFECT_FILE
    try:
        read_settings()  # wrong ones are a fault, where importing Prefect ends in a traceback
        found = load_prefect_file(path)
    except FaultsError as error:
        say(f"{path}: nothing is deployed:\n{error}", sys.stderr)
        return USAGE
    say(f"{path}: {', '.join(each.full_name for each in found.deployments)}")
    for note in unserved_notes(found.deployments, (POOL,)):
        say(f"note: unless told otherwise, {note}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
