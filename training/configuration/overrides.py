"""Compose Hydra overrides, and check them against the trainer's configuration before a launch.

For the project's own trainer, which `hydra.main` does not start; `applications.py` is for others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.faults import MOST_NAMES, Fault, FaultsError, did_you_mean
from training.configuration.hydra_adapter import Composer, CompositionError, composing, parse
from training.configuration.launch_arguments import key_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SCENE_KEY = "shared.scene_name"
EXPERIMENT_KEY = "shared.exp_name"
SET_BY_US = {
    SCENE_KEY: "--scene-name-includes",
    EXPERIMENT_KEY: "--exp-name",
    "shared.results_root": "--results-root",
    "shared.scene_data_root": "--scene-data-root",
    "shared.scene_file": "--scenes-dir",
}
YAML_FLOAT = re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+")
"""Numbers such as 1e-3, which YAML 1.1 reads as text but YAML 1.2 and Hydra as numbers."""
MISSING = "???"
"""Hydra's mark of a value that has to be given."""


@dataclass(frozen=True)
class Composition:
    """A composed configuration, and what was found in the overrides."""

    content: dict[str, Any]
    """With the right ones of the overrides; interpolations are left as they are."""
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is right but worth a look: what `~key` removes, values of another type."""


def compose(
    config: Path, overrides: Sequence[str], reserved: Mapping[str, str] = SET_BY_US
) -> Composition:
    """Compose the own trainer's configuration; an override that is wrong is a fault, and left out.

    Faults are: no `=`, unknown key, wrong type, a sweep, Hydra's own section, which has no effect,
    a key of `reserved` (by key, the flag that sets it), and what Hydra refuses. Hydra is imported
    only if there are overrides or a defaults list. Raises FaultsError when the configuration itself
    can't be read or composed.
    """
    plain = _plain_defaults(config)
    if plain is not None and not overrides:
        return Composition(plain)
    parsed, faults = parse(overrides)
    with composing(config) as composer:
        defaults = plain if plain is not None else _compose_or_raise(composer, ())
        known = dict(leaves(defaults))
        wrong = [(item, _fault_of(item, known, config, reserved)) for item in parsed]
        faults += [fault for _, fault in wrong if fault]
        right = [item for item, fault in wrong if not fault]
        accepted, refused, _ = split_refused(composer, right)
        faults += [refusal(item, error) for item, error in refused]
        content = _compose_or_raise(composer, [str(item.input_line) for item in accepted])
        warnings = removal_warnings(composer, accepted, content)
    content.pop("hydra", None)
    return Composition(content, _each_once(faults), tuple(warnings))


def compose_all(
    config: Path, common: Sequence[str], variants: Sequence[Sequence[str]]
) -> list[Composition]:
    """Compose the own trainer's configuration with each variant's overrides after the common ones.

    Hydra composes the first. One that differs from it only by plain values of known keys gets
    these values set in the first's content, which is what Hydra does with them, a hundred times
    faster; Hydra composes all others. Raises what `compose` raises.
    """
    first = compose(config, (*common, *variants[0]))
    if len(variants) == 1:
        return [first]
    if any(_overlap(key_of(one), key_of(other)) for one in variants[0] for other in common):
        # What such a key is without the first variant is not known from the first's content.
        return [first, *(compose(config, (*common, *each)) for each in variants[1:])]
    known = dict(leaves(_plain_defaults(config) or {}))
    removed = known.keys() - dict(leaves(first.content)).keys()
    own = {repr(text) for text in variants[0] if text not in common}
    of_all = tuple(fault for fault in first.faults if not any(each in fault.value for each in own))
    before = {key: known[key] for key in map(key_of, variants[0]) if key in known}
    parsed: dict[str, tuple[list[Override], list[Fault]]] = {}
    found = [first]
    for variant in variants[1:]:
        for text in variant:
            if text not in parsed:
                parsed[text] = parse([text])
        items = [item for text in variant for item in parsed[text][0]]
        if all(_is_plain(item, known) and item.key_or_group not in removed for item in items):
            faults = [fault for text in variant for fault in parsed[text][1]]
            right, wrong = _judged(items, known, config)
            content = _with_values(first.content, {**before, **right})
            found.append(
                Composition(content, _each_once([*of_all, *faults, *wrong]), first.warnings)
            )
        else:
            found.append(compose(config, (*common, *variant)))
    return found


def _overlap(key: str, other: str) -> bool:
    """Return whether two dotted keys are the same, or one is a section that the other is in."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _each_once(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(dict.fromkeys(faults))


def _is_plain(override: Override, known: Mapping[str, Any]) -> bool:
    """Return whether an override does no more than to set a key of the configuration to a value.

    One that is wrong is plain, too, since it is left out.
    """
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package:
        return False
    values = (override.value(), known.get(override.key_or_group))
    return not any(isinstance(each, dict) or "\\" in str(each) for each in values) and not (
        is_in_a_list(override.key_or_group, known)
    )


def _judged(
    items: Sequence[Override], known: Mapping[str, Any], config: Path
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the values of right overrides by key, and the faults of the others."""
    found = [(item, _fault_of(item, known, config, SET_BY_US)) for item in items]
    right = {item.key_or_group: item.value() for item, fault in found if not fault}
    return right, [fault for _, fault in found if fault]


def _with_values(content: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested mapping with values by dotted key; what stays is shared."""
    changed = dict(content)
    for key, value in values.items():
        node: dict[str, Any] = changed
        *sections, last = key.split(".")
        for section in sections:
            inner = node.get(section)  # none where a common override has removed it: a fault
            node[section] = dict(inner) if isinstance(inner, dict) else {}
            node = node[section]
        node[last] = value
    return changed


def split_refused(
    composer: Composer, overrides: Sequence[Override]
) -> tuple[list[Override], list[tuple[Override, CompositionError]], CompositionError | None]:
    """Return the overrides that Hydra accepts together, those it refuses, and what is left wrong.

    The last is Hydra's error for the configuration with the accepted ones; None where it composes.
    Choices of config groups have to stand before overrides of their keys.
    """
    if composer.error([str(item.input_line) for item in overrides]) is None:
        return list(overrides), [], None
    accepted, refused, remaining = list[Any](), list[Any](), composer.error(())
    for item in overrides:
        error = composer.error([str(other.input_line) for other in (*accepted, item)])
        was_wrong_before = remaining is not None and (
            str(error) == str(remaining) or item.key_or_group not in str(error)
        )
        if error is None or was_wrong_before:
            accepted.append(item)
            remaining = error
        else:
            refused.append((item, error))
    return accepted, refused, remaining


def refusal(override: Override, error: CompositionError) -> Fault:
    """Return the fault for an override with Hydra's own message."""
    return Fault("Hydra refuses an override", f"{override.input_line!r} ({error})")


def sweep_fault(override: Override) -> Fault | None:
    """Return a fault for several values of one key, each of which Hydra would run."""
    if not override.is_sweep_override():
        return None
    if override.is_interval_sweep():
        return interval_fault(override)
    key = override.key_or_group
    remedy = (
        f"an experiment for each value: --sweep {override.input_line}; "
        f"a text with commas is quoted: \"{key}='a,b'\""
    )
    return Fault("an override is a sweep", repr(override.input_line), remedy)


def interval_fault(override: Override) -> Fault:
    """Return the fault for an interval, of whose values an optimiser would choose."""
    key = override.key_or_group
    remedy = f"name the values, as in {key}=1,2,3 or {key}=range(1,4); docs/sweeps.md has Optuna"
    return Fault("an interval has no values to try one by one", repr(override.input_line), remedy)


def reserved_fault(override: Override, reserved: Mapping[str, str]) -> Fault | None:
    """Return a fault for a key that the launcher sets itself."""
    flag = reserved.get(override.key_or_group)
    if flag is None:
        return None
    what = "an override sets what the launcher sets"
    return Fault(what, repr(override.input_line), f"use {flag}")


def lacking_key(override: Override, config: Path, known: Iterable[str]) -> Fault:
    """Return the fault for a key that the configuration lacks, with the nearest that it has."""
    what = f"an override names a key that {config.name} lacks"
    return Fault(what, repr(override.input_line), _near(override.key_or_group, list(known)))


def removal_warnings(
    composer: Composer, overrides: Sequence[Override], content: Mapping[str, Any]
) -> list[str]:
    """Return for each `~key` what it removes from the configuration, which `content` lacks."""
    warnings = []
    for removal in (item for item in overrides if item.is_delete()):
        others = [str(item.input_line) for item in overrides if item is not removal]
        before = flat(_compose_or_raise(composer, others))
        removed = [
            f"{key}={before[key]}"
            for key in before.keys() - flat(dict(content)).keys()
            if not key.startswith("hydra.")
        ]
        shown = ", ".join(sorted(removed)[:MOST_NAMES]) + (
            ", …" if len(removed) > MOST_NAMES else ""
        )
        warnings.append(f"{removal.input_line} removes {shown or 'nothing'}")
    return warnings


def is_in_a_list(key: str, known: Mapping[str, Any]) -> bool:
    """Return whether a key such as `layers.0.width` goes through an element of a known list."""
    parts = key.split(".")
    return any(
        parts[count].isdigit() and isinstance(known.get(".".join(parts[:count])), list)
        for count in range(1, len(parts))
    )


def is_of_same_kind(value: Any, default: Any) -> bool:
    """Return whether a value may replace a default of its type.

    None, `???` and interpolations have no type.
    """
    if any(each is None or each == MISSING or _is_interpolation(each) for each in (value, default)):
        return True
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int | float):
        number = int if isinstance(default, int) else (int, float)
        return isinstance(value, number) and not isinstance(value, bool)
    if isinstance(default, dict | list):
        return isinstance(value, type(default))
    return not isinstance(value, dict | list)


def kind_of(default: Any) -> str:
    """Return what a value like this one is called in messages."""
    names = {bool: "true or false", int: "a whole number", float: "a number", list: "a list [a,b]"}
    return names.get(type(default), "a mapping" if isinstance(default, dict) else "a text")


def check_syntax(overrides: Sequence[str]) -> None:
    """Check overrides for a script without a Hydra configuration.

    Raises FaultsError naming each that is not key=value.
    """
    remedy = "write key=value; a Hydra application's configuration is named with --train-config"
    faults = [
        Fault("an override is not key=value", repr(text), remedy)
        for text in overrides
        if "=" not in text or text.startswith("=")
    ]
    if faults:
        raise FaultsError(faults)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key of a nested mapping with its value, inner nodes included."""
    if prefix:
        yield prefix, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def flat(content: dict[str, Any]) -> dict[str, Any]:
    """Return a nested mapping's values by dotted key; an empty mapping is a value."""
    return {
        key: value for key, value in leaves(content) if not isinstance(value, dict) or not value
    }


def select(config: dict[str, Any], key: str, default: Any = None) -> Any:
    """Return the value at a dotted key, `default` where there is none."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return default
        node = node[part]
    return node


def _plain_defaults(config: Path) -> dict[str, Any] | None:
    """Return the file's content as Hydra would compose it; None when it includes other files."""
    import yaml

    # PyYAML's reader in C, where it was built with it, saves most of a dry run's time.
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            for key in {str(key) for key in keys if keys.count(key) > 1}:  # as Hydra refuses it
                message = f"found duplicate key {key}"
                raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", YAML_FLOAT, list("-+0123456789"))
    try:
        with config.open(encoding="utf-8") as stream:
            content = yaml.load(stream, Loader)  # noqa: S506 - it is a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FaultsError([Fault(f"{config} can't be read", str(error))]) from error
    if not isinstance(content, dict):
        raise FaultsError([Fault(f"{config} is not a mapping", remedy="write key: value lines")])
    if content.pop("defaults", ["_self_"]) not in ([], ["_self_"]):
        return None
    content.pop("hydra", None)
    return content


def _compose_or_raise(composer: Composer, overrides: Sequence[str]) -> dict[str, Any]:
    try:
        return composer.compose(overrides)
    except CompositionError as error:
        raise FaultsError([Fault(f"{composer.config} does not compose", str(error))]) from error


def _fault_of(
    override: Override, known: Mapping[str, Any], config: Path, reserved: Mapping[str, str]
) -> Fault | None:
    key = override.key_or_group
    fault = reserved_fault(override, reserved) or _no_effect(override) or sweep_fault(override)
    if fault or (key in known and override.is_delete()):
        return fault
    if key in known:
        return _type_fault(override, known[key])
    if override.is_add() or override.is_force_add() or is_in_a_list(key, known):
        return None
    return lacking_key(override, config, known)


def _no_effect(override: Override) -> Fault | None:
    if re.split(r"[./]", override.key_or_group)[0] != "hydra":
        return None
    remedy = "leave it out: the trainer is composed with Hydra, but Hydra does not start it"
    return Fault("an override has no effect on this trainer", repr(override.input_line), remedy)


def _near(key: str, known: Sequence[str]) -> str:
    last = key.rpartition(".")[2]
    same_name = [other for other in known if other.rpartition(".")[2] == last]
    return did_you_mean(key, same_name or known)


def _type_fault(override: Override, default: Any) -> Fault | None:
    value = override.value()
    if is_of_same_kind(value, default):
        return None
    return Fault(
        f"an override has the wrong type for {override.key_or_group}",
        repr(override.input_line),
        f"expected {kind_of(default)}"
        + ("" if isinstance(default, dict) else f", like its default {default!r}"),
    )


def _is_interpolation(value: Any) -> bool:
    return "${" in str(value) and not isinstance(value, dict | list)
