"""Compose Hydra overrides, and check them against the trainer's configuration before a launch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.faults import Fault, FaultsError, did_you_mean

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
PLAIN_WORD = re.compile(r"(?!(?:true|false|null|none|nan|inf)$)[A-Za-z_][\w.-]*", re.IGNORECASE)
YAML_FLOAT = re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+")
"""Numbers such as 1e-3, which YAML 1.1 reads as text but YAML 1.2 and Hydra as numbers."""


def assignment(key: str, text: str) -> str:
    """Return `key=text`, quoted only where Hydra would read something else than text."""
    return f"{key}={text}" if PLAIN_WORD.fullmatch(text) else f"{key}='{text}'"


def assigned(overrides: Sequence[str], key: str) -> str | None:
    """Return the unquoted value of the last plain `key=value` for a key; None if there is none."""
    prefix = f"{key}="
    values = [text.removeprefix(prefix) for text in overrides if text.startswith(prefix)]
    return values[-1].strip("'\"") if values else None


def compose(
    config: Path, overrides: Sequence[str], reserved: Mapping[str, str] = SET_BY_US
) -> tuple[dict[str, Any], list[Fault]]:
    """Return a configuration with the right ones of the overrides, and the faults of the others.

    Faults are: no `=`, unknown key, wrong type, a sweep, a key of `reserved` (by key, the flag that
    sets it). Interpolations are left as they are. Hydra is imported only if there are overrides or
    a defaults list. Raises FaultsError when the configuration itself can't be read or composed.
    """
    plain = _plain_defaults(config)
    if plain is not None and not overrides:
        return plain, []
    parsed, faults = _parse(overrides)
    defaults = plain if plain is not None else _hydra_compose(config, ())
    right = []
    for item in parsed:
        fault = _fault_of(item, defaults, config, reserved)
        faults += [fault] if fault else []
        right += [] if fault else [str(item.input_line)]
    return _hydra_compose(config, right), faults


def check_syntax(overrides: Sequence[str]) -> None:
    """Check overrides for a script without a Hydra configuration.

    Raises FaultsError naming each that is not key=value.
    """
    faults = [
        Fault("an override is not key=value", repr(text), "write key=value")
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
        pass

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


def _hydra_compose(config: Path, overrides: Sequence[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(config.parent.absolute()), version_base=None):
            composed = hydra_compose(config.stem, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise FaultsError([Fault(f"{config} does not compose", _one_line(error))]) from error
    container = OmegaConf.to_container(composed, resolve=False)
    return {str(key): value for key, value in dict(container).items()}  # type: ignore[arg-type]


def _parse(overrides: Sequence[str]) -> tuple[list[Override], list[Fault]]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed, faults = OverridesParser.create(), [], []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            faults.append(_unparsable(text, _one_line(error)))
    return parsed, faults


def _unparsable(text: str, reason: str) -> Fault:
    if "=" not in text and not text.startswith("~"):
        return Fault("an override has no '='", repr(text), "write key=value")
    key, _, value = text.partition("=")
    quoted = value.replace("'", "\\'")
    remedy = f"a text with special characters is quoted for Hydra: \"{key}='{quoted}'\""
    return Fault("an override can't be parsed", f"{text!r} ({reason})", remedy)


def _fault_of(
    override: Override, defaults: dict[str, Any], config: Path, reserved: Mapping[str, str]
) -> Fault | None:
    key, text = override.key_or_group, override.input_line
    if key in reserved:
        return Fault("an override sets what the launcher sets", repr(text), f"use {reserved[key]}")
    if override.is_sweep_override():
        remedy = f"one run takes one value; a text with commas is quoted: \"{key}='a,b'\""
        return Fault("an override is a sweep", repr(text), remedy)
    if (config.parent / key).is_dir():  # a config group: Hydra knows its options
        return None
    known = dict(leaves(defaults))
    if key in known:
        return None if override.is_delete() else _type_fault(override, known[key])
    if override.is_add() or override.is_force_add() or key.startswith("hydra."):
        return None
    return Fault(f"an override names a key that {config.name} lacks", repr(text), _near(key, known))


def _near(key: str, known: dict[str, Any]) -> str:
    last = key.rpartition(".")[2]
    same_name = [other for other in known if other.rpartition(".")[2] == last]
    return did_you_mean(key, same_name or known)


def _type_fault(override: Override, default: Any) -> Fault | None:
    value = override.value()
    if _fits(value, default):
        return None
    return Fault(
        f"an override has the wrong type for {override.key_or_group}",
        repr(override.input_line),
        f"expected {_kind(default)}"
        + ("" if isinstance(default, dict) else f", like its default {default!r}"),
    )


def _fits(value: Any, default: Any) -> bool:
    """Return whether a value may replace a default of its type; None and interpolations always."""
    if value is None or default is None or _is_interpolation(value) or _is_interpolation(default):
        return True
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int | float):
        number = int if isinstance(default, int) else (int, float)
        return isinstance(value, number) and not isinstance(value, bool)
    if isinstance(default, dict | list):
        return isinstance(value, type(default))
    return not isinstance(value, dict | list)


def _is_interpolation(value: Any) -> bool:
    return "${" in str(value) and not isinstance(value, dict | list)


def _kind(default: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", list: "a list [a,b]"}
    return names.get(type(default), "a mapping" if isinstance(default, dict) else "a text")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
