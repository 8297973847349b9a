"""What scenes were trained with: the settings that differ from the defaults."""

from __future__ import annotations

import json
import shlex
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any

from preprocess.faults import FaultsError
from preprocess.roots import under_checkout
from training.configuration.configuration_file import SCRIPT, is_of_own_trainer
from training.configuration.fingerprint import content_hash, without_ignored
from training.configuration.interpolations import resolve_what_is_known
from training.configuration.launch_arguments import key_of
from training.configuration.overrides import SET_BY_US, compose
from training.plan.train_script import OWN_CONFIG

CONTENT = "content"
"""Key that stands for a file in a recorded configuration: its content's hash, not its path."""
HASH_LETTERS = 7
MOST_VALUES = 3

Settings = dict[str, Any]
"""Values by dotted key."""


def changed_settings(configuration: Mapping[str, Any], command: str = "") -> Settings:
    """Return the settings of a recorded configuration that differ from the trainer's defaults.

    Those of another script are the overrides of its recorded `command`: its defaults are its own
    affair. Keys that the defaults have and the record lacks are left out: they are newer.
    """
    if not is_of_own_trainer(configuration):
        return overrides_of(command) or _without_script(configuration)
    defaults = own_defaults()
    return {
        key: shown(value)
        for key, value in _without_script(configuration).items()
        if key not in defaults or not _is_default(value, defaults[key])
    }


def overrides_of(command: str) -> Settings:
    """Return by key the overrides of a trainer's recorded command line, without the launcher's."""
    try:
        words = shlex.split(command)
    except ValueError:  # a record that somebody has edited
        return {}
    start = next((place for place, word in enumerate(words) if word.endswith(".py")), len(words))
    given = [word for word in words[start + 1 :] if "=" in word and key_of(word) not in SET_BY_US]
    return {key_of(word): word.partition("=")[2] for word in given}


@cache
def own_defaults() -> Settings:
    """Return what decides a result in today's train.yaml, resolved, by dotted key."""
    return without_ignored(resolve_what_is_known(compose(OWN_CONFIG, ()).content))


def common_settings(scenes: Sequence[Mapping[str, Any]]) -> Settings:
    """Return by key the values of several scenes; where they differ, how many of them there are."""
    keys = dict.fromkeys(key for each in scenes for key in each)
    values = {key: [each.get(key) for each in scenes] for key in keys}
    return {key: _common(each) for key, each in values.items()}


def _common(values: Sequence[Any]) -> Any:
    different = list({_key_of(value): value for value in values}.values())
    if len(different) == 1:
        return shown(different[0])
    if len(different) > MOST_VALUES:
        return f"{len(different)} values"
    return " or ".join(text_of(shown(value)) for value in different)


def _key_of(value: Any) -> Any:
    """Return what equal values have in common and a set can hold."""
    return value if isinstance(value, Hashable) else json.dumps(value, default=str, sort_keys=True)


def different_settings(configurations: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys in which configurations differ, with the value in each; None for no value."""
    keys = dict.fromkeys(key for each in configurations for key in each)
    values = {key: [each.get(key) for each in configurations] for key in keys}
    return {key: each for key, each in values.items() if any(one != each[0] for one in each)}


def shown(value: Any) -> Any:
    """Return a recorded value as it is shown: of a file the beginning of its content's hash."""
    if isinstance(value, dict) and value.keys() == {CONTENT}:
        return f"file {str(value[CONTENT])[:HASH_LETTERS]}"
    return value


def text_of(value: Any) -> str:
    """Return a value as it is written in YAML or an override."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    return json.dumps(value, default=str, ensure_ascii=False)


def _without_script(configuration: Mapping[str, Any]) -> Settings:
    return {key: value for key, value in configuration.items() if key != SCRIPT}


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, dict) and value.keys() == {CONTENT} and isinstance(default, str):
        return bool(value[CONTENT] == _content_of_default(default))
    return bool(value == default)


@cache
def _content_of_default(path: str) -> str:
    """Return the hash of a file that today's train.yaml names; empty where it can't be read."""
    try:
        return content_hash(under_checkout(path))
    except FaultsError:
        return ""
