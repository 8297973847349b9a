"""Refuse overrides that change what the launcher itself sets, however they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocess.faults import Fault
from training.configuration.hydra_adapter import Composer, CompositionError, composing
from training.configuration.launch_arguments import key_of
from training.configuration.overrides import EXPERIMENT_KEY, SCENE_KEY, SET_BY_US, select

BRACKET = re.compile(r"\[(\w+)\]")
"""`shared[scene_name]`, which scripts with OmegaConf read like `shared.scene_name`."""
OURS = (f"++{SCENE_KEY}=__ours__", f"++{EXPERIMENT_KEY}=__ours__")
"""What the launcher passes before the user's overrides; an application may lack the keys."""


def reserved_by_name(overrides: Sequence[str]) -> list[Fault]:
    """Return a fault for each override that sets a reserved key, its section or a key below it.

    For a script without a configuration, whose reading of its arguments nobody here knows.
    """
    return [_fault(text) for text in overrides if _is_near(text)]


def reserved_by_effect(config: Path, overrides: Sequence[str]) -> list[Fault]:
    """Return a fault for each override of a section that changes a reserved key of `config`.

    `shared={scene_name:other}` does, `shared={wandb:{enable:true}}` does not. Reserved keys by
    their own name are a matter of `compose`.
    """
    near = [text for text in overrides if _is_near(text) and key_of(text) not in SET_BY_US]
    if not near:
        return []
    with composing(config) as composer:
        before = _reserved_values(composer)
        return [_fault(text) for text in near if before != _reserved_values(composer, text)]


def reserved_in_application(composer: Composer, overrides: Sequence[str]) -> list[Fault]:
    """Return the same for an application that composes with these overrides."""
    near = [text for text in overrides if _is_near(text)]
    others = [text for text in overrides if text not in near]
    before = _reserved_values(composer, *others) if near else {}
    return [_fault(text) for text in near if before != _reserved_values(composer, *others, text)]


def _reserved_values(composer: Composer, *overrides: str) -> dict[str, Any]:
    """Return the reserved keys' values in the configuration composed with these overrides.

    What does not compose changes nothing: it is a fault elsewhere.
    """
    try:
        content = composer.compose((*OURS, *overrides))
    except CompositionError:
        return _reserved_values(composer) if overrides else {}
    return {key: select(content, key) for key in SET_BY_US}


def _is_near(text: str) -> bool:
    key = BRACKET.sub(r".\1", key_of(text))
    return any(
        key == known or known.startswith(f"{key}.") or key.startswith(f"{known}.")
        for known in SET_BY_US
    )


def _fault(text: str) -> Fault:
    key = BRACKET.sub(r".\1", key_of(text))
    flag = SET_BY_US.get(key)
    names = ", ".join(f"{known} by {option}" for known, option in SET_BY_US.items())
    remedy = f"use {flag}" if flag else f"leave out what has an option of its own: {names}"
    return Fault("an override sets what the launcher sets", repr(text), remedy)
