"""`config.yaml` beside a run record: the configuration that a run was made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.system.atomic_write import write_atomically

CONFIGURATION = "config.yaml"
SCRIPT = "(script)"
"""Key of a recorded configuration that names the trainer's script."""
OWN_TRAINER = "simple_multi_human_trainer.py"
RECORDED = (
    "# What decides the result, as the launcher knows it: resolved, files by their content.\n"
)


def is_of_own_trainer(configuration: Mapping[str, Any]) -> bool:
    """Return whether a recorded configuration is of the project's own trainer."""
    return configuration.get(SCRIPT) == OWN_TRAINER


def write_configuration(output: Path, content: Mapping[str, Any], heading: str = "") -> None:
    """Write a configuration into an output folder as YAML, below a comment; raises OSError."""
    write_atomically(output / CONFIGURATION, heading + as_yaml(content))


def write_recorded_configuration(output: Path, configuration: Mapping[str, Any]) -> None:
    """Write what a plan knows of another script's configuration, if anything; raises OSError."""
    values = {key: value for key, value in configuration.items() if key != SCRIPT}
    if values:
        write_configuration(output, _nested(values), RECORDED)


def as_yaml(content: Mapping[str, Any]) -> str:
    """Return plain data as YAML, in its order."""
    import yaml

    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as sections; where a key is a value too, its keys stay dotted."""
    sections: dict[str, Any] = {}
    for key, value in values.items():
        *names, last = key.split(".")
        section = sections
        for place, name in enumerate(names):
            inner = section.setdefault(name, {})
            if not isinstance(inner, dict):
                last = ".".join(key.split(".")[place:])
                break
            section = inner
        section[last] = value
    return sections
