"""Which environment variables of a configuration a plan hands on to its jobs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from training.configuration.interpolations import variables_named

NAMES = r"((api|access|auth|private|secret)_?key|token|secret|password|passwd|credential)s?"
SECRET = re.compile(NAMES + "$", re.IGNORECASE)
"""How names of secrets end, as in `api_key` or `HF_TOKEN`."""
GIVEN_SECRET = re.compile(rf"(?P<name>{NAMES}['\"]?\s*[=:]).*", re.IGNORECASE | re.DOTALL)
OF_THE_JOB = re.compile(
    r"(SLURM|CUDA|PBS|SGE|LSB)_.*|TMPDIR|TEMP|TMP|HOST|HOSTNAME|PWD|(\w*_)?PATH|VIRTUAL_ENV"
)
"""What differs from machine to machine, or is set by Slurm: a job has its own."""
HIDDEN = "(not written down)"


def given_variables(
    names: Iterable[str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return those of the variables that are set here and mean the same in a job.

    Secrets are left out, since a plan is a file: a job has them as it has the user's others.
    """
    wanted = {name for name in names if not SECRET.search(name) and not OF_THE_JOB.fullmatch(name)}
    return {name: environ[name] for name in sorted(wanted) if name in environ}


def without_secrets(
    values: Mapping[str, Any], written: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return values by dotted key with `HIDDEN` for texts that are secrets.

    By their key, or by a variable that they are read from: `written` has them unresolved.
    """
    return {
        key: HIDDEN if isinstance(value, str) and _is_secret(key, written.get(key)) else value
        for key, value in values.items()
    }


def without_secret_values(words: Iterable[str]) -> list[str]:
    """Return a command's words with `HIDDEN` for all that follows the name of a secret.

    Wherever a word gives one: `api_key=x`, `--overrides=api_key=x`, `hub={api_key:x}`.
    """
    return [GIVEN_SECRET.sub(rf"\g<name>{HIDDEN}", word) for word in words]


def _is_secret(key: str, written: object) -> bool:
    return any(SECRET.search(name) for name in (key, *variables_named(written)))
