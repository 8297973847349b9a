"""Compose the configuration of another script, a Hydra application, as Hydra itself will.

What Hydra accepts is accepted. Faults of our own are only those with which every scene would fail
later, or run with something else than was asked for: see `examine`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.configuration.hydra_adapter import Composer, CompositionError, composing, parse
from training.configuration.interpolations import failing_interpolations
from training.configuration.overrides import (
    EXPERIMENT_KEY,
    MISSING,
    SCENE_KEY,
    SET_BY_US,
    Composition,
    is_in_a_list,
    is_of_same_kind,
    kind_of,
    lacking_key,
    leaves,
    refusal,
    removal_warnings,
    reserved_fault,
    select,
    split_refused,
    sweep_fault,
)
from training.configuration.reserved_keys import reserved_in_application

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SWEEPER_SETTINGS = "hydra.sweeper.params"
RUN_FOLDER = "hydra.run.dir"
VARIABLES = {
    "shared.results_root": "TS_RESULTS_ROOT",
    "shared.scene_data_root": "TS_SCENE_DATA_ROOT",
    "shared.scene_file": "TS_SCENE_FILE",
}
"""What an application reads these keys from: the launcher adds only the two names to a command."""


@dataclass(frozen=True)
class Application:
    """A Hydra application, and how it is going to be started."""

    config: Path
    overrides: tuple[str, ...]
    launch: tuple[str, ...]
    """What the launcher puts before the overrides: the names of a scene and of the experiment."""
    version_base: str | None = None
    """As the script gives it to `hydra.main`."""
    reserved: Mapping[str, str] | None = None
    """By key, the flag that sets it; None for `SET_BY_US`."""


class NeedsScriptError(FaultsError):
    """Hydra does not find a configuration or a resolver, which the script may register."""


def examine(application: Application) -> Composition:
    """Return the configuration that the application will have, with faults and warnings.

    Faults are: what Hydra refuses, reserved keys, sweeps, keys that the launcher sets and the
    configuration lacks, `???` that nobody fills, interpolations of what is not there. Raises
    NeedsScriptError where a configuration or resolver is named that only the script may know, and
    FaultsError when the configuration can't be composed at all.
    """
    if not application.config.is_file():
        raise FaultsError([Fault("--train-config is not a file", str(application.config))])
    parsed, faults = parse(application.overrides)
    own = [(item, _own_fault(item, application)) for item in parsed]
    faults += [fault for _, fault in own if fault]
    with composing(application.config, application.version_base) as composer:
        right = [item for item, fault in own if not fault]
        try:
            found, needs_script = _compose(composer, right, application)
        except FaultsError as error:
            raise type(error)([*faults, *error.faults]) from error
    section = found.content.pop("hydra", {})
    faults += found.faults
    faults += _sweep_faults(section, application)
    faults += _missing_faults(found.content, application)
    failing, unset = failing_interpolations(found.content)
    failing |= _failing_run_folder(found.content, section)
    faults += [Fault("an interpolation fails", f"{key}: {why}") for key, why in failing.items()]
    if needs_script:
        raise NeedsScriptError(faults)
    warnings = (*found.warnings, *map(_unset_warning, unset))
    return Composition(found.content, tuple(dict.fromkeys(faults)), warnings)


def _compose(
    composer: Composer, overrides: Sequence[Override], application: Application
) -> tuple[Composition, bool]:
    """Return what Hydra composes, its own section included, and what it refuses.

    And whether one of the refused overrides needs what only the script may know. Raises
    NeedsScriptError or FaultsError when nothing can be composed.
    """
    groups = composer.groups({item.key_or_group for item in overrides})
    ordered = sorted(overrides, key=lambda item: item.key_or_group not in groups)
    chosen = [str(item.input_line) for item in ordered if item.key_or_group in groups]
    named = replace(composer, always=application.launch)
    nameless = _error_of_names(composer, named, chosen)
    if nameless is None:
        composer = named
    accepted, refused, remaining = split_refused(composer, ordered)
    if remaining is not None:
        faults = [Fault(f"{composer.config} does not compose", str(remaining))]
        faults += [refusal(item, error) for item, error in refused]
        raise (NeedsScriptError if remaining.needs_script else FaultsError)(faults)
    texts = [str(item.input_line) for item in accepted]
    content = composer.compose(texts)
    faults = [_refused(item, error, composer, content) for item, error in refused]
    faults += [_names_fault(composer, nameless, content)] if nameless else []
    faults += reserved_in_application(composer, texts)
    warnings = removal_warnings(composer, accepted, content)
    values = [item for item in accepted if item.key_or_group not in groups]
    warnings += _type_warnings(composer, chosen, values, content)
    needs_script = any(error.needs_script for _, error in refused)
    return Composition(content, tuple(faults), tuple(warnings)), needs_script


def _error_of_names(
    composer: Composer, named: Composer, chosen: Sequence[str]
) -> CompositionError | None:
    """Return why the application refuses the names that the launcher adds; None if it does not.

    None also where it composes neither with the chosen groups nor without.
    """
    for overrides in (chosen, ()):
        if composer.error(overrides) is None:
            return named.error(overrides)
    return None


def _own_fault(override: Override, application: Application) -> Fault | None:
    key, reserved = override.key_or_group, application.reserved
    if key.startswith(SWEEPER_SETTINGS):
        remedy = "leave it out: the launcher starts one run a scene; give the values themselves"
        return Fault("a sweeper's setting has no effect", repr(override.input_line), remedy)
    known = SET_BY_US if reserved is None else reserved
    return reserved_fault(override, known) or sweep_fault(override)


def _refused(
    override: Override, error: CompositionError, composer: Composer, content: Mapping[str, Any]
) -> Fault:
    """Return the fault for a refused override, with what is nearest to it in the configuration."""
    key, known = override.key_or_group, dict(leaves(dict(content)))
    options = composer.options(key)
    if error.needs_script and options:
        remedy = did_you_mean(str(override.value()), options)
        return Fault(f"the group {key} has no such option", repr(override.input_line), remedy)
    is_added = override.is_add() or override.is_force_add()
    if key in known or is_added or options or is_in_a_list(key, known):
        return refusal(override, error)
    own = [name for name in known if name.partition(".")[0] != "hydra"]
    groups = select(dict(content), "hydra.runtime.choices", {})
    is_hydras = key.partition(".")[0] == "hydra"
    return lacking_key(override, composer.config, known if is_hydras else [*own, *groups])


def _names_fault(composer: Composer, error: CompositionError, content: Mapping[str, Any]) -> Fault:
    """Return the fault of an application to which scene and experiment can't be passed."""
    known = dict(leaves(dict(content)))
    absent = [key for key in (SCENE_KEY, EXPERIMENT_KEY) if key not in known]
    if not absent:
        return Fault("Hydra refuses what the launcher adds to the command", str(error))
    names = [key.partition(".")[2] for key in absent]
    lines = "shared: {" + ", ".join(f"{name}: '???'" for name in names) + "}"
    what = f"{composer.config} lacks keys that the launcher sets"
    return Fault(what, ", ".join(absent), f"add to it {lines}")


def _sweep_faults(section: Any, application: Application) -> list[Fault]:
    mode = section.get("mode") if isinstance(section, dict) else None
    if mode != "MULTIRUN":
        return []
    by_hand = [text for text in application.overrides if "hydra.mode" in text]
    where = repr(by_hand[-1]) if by_hand else str(application.config)
    remedy = "leave it out: the launcher starts one run for each scene, into one folder"
    return [Fault("hydra.mode=MULTIRUN starts several runs", where, remedy)]


def _missing_faults(content: Mapping[str, Any], application: Application) -> list[Fault]:
    """Return a fault for each `???`, but for those that the launcher fills."""
    found = []
    for key in _missing_keys(dict(content)):
        if key in (SCENE_KEY, EXPERIMENT_KEY):
            continue
        remedy = f"give {key}=VALUE with --overrides, or a default in the configuration"
        if key in VARIABLES:
            remedy = f"write {key.partition('.')[2]}: ${{oc.env:{VARIABLES[key]}}}"
        what = f"{application.config.name} leaves a key to be given, and nobody gives it"
        found.append(Fault(what, f"{key}: {MISSING}", remedy))
    return found


def _missing_keys(node: Any, prefix: str = "") -> Iterator[str]:
    if node == MISSING:
        yield prefix
    inner = enumerate(node) if isinstance(node, list) else ()
    for key, value in node.items() if isinstance(node, dict) else inner:
        yield from _missing_keys(value, f"{prefix}.{key}" if prefix else str(key))


def _type_warnings(
    composer: Composer,
    chosen: Sequence[str],
    overrides: Sequence[Override],
    content: Mapping[str, Any],
) -> list[str]:
    """Return a warning for each value whose type differs from its default's.

    Only untyped configurations have such: in others Hydra converts or refuses the value.
    """
    try:
        defaults = dict(leaves(composer.compose(chosen)))
    except CompositionError:
        return []
    values = dict(leaves(dict(content)))
    return [
        f"{item.input_line}: the default {defaults[key]!r} is {kind_of(defaults[key])}"
        for item in overrides
        if not item.is_delete()
        and (key := item.key_or_group) in defaults
        and not is_of_same_kind(values.get(key), defaults[key])
    ]


def _failing_run_folder(content: Mapping[str, Any], section: Any) -> dict[str, str]:
    """Return why Hydra can't make the run's folder, which it does before the script begins."""
    folder = select({"hydra": section}, RUN_FOLDER)
    if not isinstance(folder, str):
        return {}
    failing, _ = failing_interpolations({**content, "hydra": section}, only=RUN_FOLDER)
    return failing


def _unset_warning(variable: str) -> str:
    return f"${{oc.env:{variable}}}: not set here, and without a default; set it or the script must"
