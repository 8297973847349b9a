"""Write the arguments `key=value` that every script gets, and find keys among a user's."""

from __future__ import annotations

import re
from collections.abc import Sequence

INTEGER, DIGITS = r"(0|[1-9](_?[0-9])*)", r"[0-9](_?[0-9])*"
FLOAT = rf"({INTEGER}?\.{DIGITS}|{INTEGER}\.)(e[+-]?{DIGITS})?|{INTEGER}e[+-]?{DIGITS}"
NO_TEXT = re.compile(rf"true|false|null|[+-]?(nan|inf|{INTEGER}|{FLOAT})", re.IGNORECASE)
"""What Hydra's grammar reads as a truth value, a number or nothing."""
UNQUOTED = re.compile(r"[\w.+-]+", re.ASCII)
"""Letters of our names that Hydra's grammar takes in a value without quotes."""


def assignment(key: str, text: str) -> str:
    """Return `key=text`, quoted only where Hydra would read something else than this text."""
    is_plain = UNQUOTED.fullmatch(text) and not NO_TEXT.fullmatch(text)
    return f"{key}={text}" if is_plain else f"{key}='{text}'"


def key_of(override: str) -> str:
    """Return the key that an override sets or deletes.

    Without its prefix (`+`, `++`, `~`, `--`) and its package (`@model`).
    """
    return override.partition("=")[0].strip().lstrip("+~-").partition("@")[0].strip()


def assigned(overrides: Sequence[str], key: str) -> str | None:
    """Return the unquoted value of the last override of a key; None if there is none."""
    values = [text.partition("=")[2] for text in overrides if key_of(text) == key]
    return values[-1].strip("'\"") if values else None
