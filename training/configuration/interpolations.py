"""Resolve `${…}` in a composed configuration."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from typing import Any

from preprocess.faults import Fault, FaultsError
from training.configuration.overrides import MISSING, flat, select

VARIABLE = re.compile(r"\$\{oc\.env:(?P<name>\w+),(?P<default>[\w.-]*/[\w./-]*)\}")
"""An environment variable with a path as its default."""
CUSTOM_RESOLVER = re.compile(r"\$\{(?!oc\.)(?=[A-Za-z_][\w.]*:)")
"""`${name:` of a resolver that a script registers, or of Hydra's `now` and `hydra`."""

KEY = re.compile(r"\$\{(?P<key>\w+(\.\w+)*)\}")
"""A value that is another key's."""
UNSET_VARIABLE = re.compile(r"Environment variable '([^']*)' not found")
"""OmegaConf's message for `${oc.env:NAME}` without a default."""
SET_FOR_JOBS = ("TS_", "SLURM_", "CUDA_VISIBLE_DEVICES")
"""What the variables begin with that are set when a scene starts: by the launcher and by Slurm."""


def resolve(content: dict[str, Any]) -> dict[str, Any]:
    """Return `content` with its interpolations resolved, as the trainer will see them.

    Uses OmegaConf only for more than environment variables and values of other keys. Raises
    FaultsError naming the interpolation that fails.
    """
    substituted = {key: _substituted(value, content) for key, value in content.items()}
    if not any(map(_is_interpolated, flat(substituted).values())):
        return substituted
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        container: Any = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    except OmegaConfBaseException as error:
        message = " ".join(str(error).split())
        raise FaultsError([Fault("an interpolation fails", message)]) from error
    return {str(key): value for key, value in container.items()}


def resolve_what_is_known(content: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves of `content` by dotted key, resolved where that is possible here.

    For a configuration of another script, which may register resolvers that the launcher lacks:
    calls of those, and interpolations that fail, stay as they are written.
    """
    values = flat(content)
    interpolated = [key for key, value in values.items() if _is_interpolated(value)]
    if not interpolated:
        return values
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config = OmegaConf.create(_escape_custom_resolvers(content))
    for key in interpolated:
        with contextlib.suppress(OmegaConfBaseException):
            value = OmegaConf.select(config, key)
            is_list = OmegaConf.is_config(value)
            values[key] = OmegaConf.to_container(value, resolve=True) if is_list else value
    return values


def failing_interpolations(
    content: Mapping[str, Any], only: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Return by key why its interpolation fails, and the environment variables that are not set.

    For a configuration of another script: its own resolvers are taken to work, values that still
    have to be given (`???`) are no matter of interpolations, and variables may be set by the
    launcher, a job or the script itself. With `only`, just that key is looked at.
    """
    keys = [only] if only else [k for k, value in flat(dict(content)).items() if "${" in str(value)]
    if not keys:
        return {}, []
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

    config = OmegaConf.create(_escape_custom_resolvers(dict(content)))
    failing, unset = dict[str, str](), dict[str, None]()
    for key in keys:
        try:
            value = OmegaConf.select(config, key)
            if OmegaConf.is_config(value):
                OmegaConf.to_container(value, resolve=True)
        except InterpolationToMissingValueError:
            continue
        except OmegaConfBaseException as error:
            message = " ".join(str(error).split())
            if variable := UNSET_VARIABLE.search(message):
                unset[variable[1]] = None
            else:
                failing[key] = message.partition(" full_key:")[0]
    return failing, [name for name in unset if not name.startswith(SET_FOR_JOBS)]


def variables_named(text: object) -> list[str]:
    """Return the names of the environment variables that a value's text reads by `oc.env`."""
    return re.findall(r"\$\{\s*oc\.env\s*:\s*[\"']?(\w+)", str(text))


def _is_interpolated(value: Any) -> bool:
    return "${" in str(value)


def _substituted(node: Any, content: Mapping[str, Any]) -> Any:
    """Resolve values that are nothing but a variable's or another key's, as OmegaConf does.

    Others, and keys whose value is a mapping, missing or interpolated itself, stay as they are.
    """
    if isinstance(node, dict):
        return {key: _substituted(value, content) for key, value in node.items()}
    if not isinstance(node, str):
        return node
    if match := VARIABLE.fullmatch(node):
        return os.environ.get(match["name"], match["default"])
    if match := KEY.fullmatch(node):
        value = select(dict(content), match["key"], MISSING)
        is_plain = not isinstance(value, dict) and value != MISSING and not _is_interpolated(value)
        return value if is_plain else node
    return node


def _escape_custom_resolvers(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _escape_custom_resolvers(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_escape_custom_resolvers(value) for value in node]
    return CUSTOM_RESOLVER.sub(r"\\${", node) if isinstance(node, str) else node
