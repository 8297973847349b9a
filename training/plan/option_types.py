"""The types of options that are more than plain text: what each refuses, in a form and after it."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from training.slurm.times import SLURM_TIME, seconds_of

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*")
SETTING = re.compile(r"[A-Za-z0-9_.+,=-]*=[A-Za-z0-9_.+,=-]*")
"""Of a sweep: the name of its experiment is <sweep>/<setting>."""
OVERRIDE = re.compile(r"^~|=")
SLURM_NAME = re.compile(r"[\w.,@:/+-]+")
MEMORY = re.compile(r"[1-9]\d*[KMGT]?")
LONGEST_NAME = 100
TO_SCENES_END = "scene"
"""Value of --orphan-grace."""
ProbePolicy = Literal["always", "auto", "never"]
"""Whether a flow probes a node before its first GPU job; auto: unless one passed within a day."""


def refused_unless(pattern: str, words: str) -> JsonDict:
    """Return a JSON schema that refuses what does not match; the refusal says these words.

    A form shows the validator's message: of a `pattern` the regular expression, of a `const`
    "'<words>' was expected".
    """
    return {"if": {"pattern": pattern}, "else": {"const": words}}


def folder_name(value: str) -> str:
    """Return an experiment's name; raises ValueError for one that can't name a folder.

    That of a sweep's setting has a slash: `<sweep>/epochs=30`.
    """
    name, slash, setting = value.partition("/")
    if not NAME.fullmatch(name) or (slash and not SETTING.fullmatch(setting)):
        raise ValueError("use letters, digits and _ . + = - (it names a folder)")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"use at most {LONGEST_NAME} characters (it names a folder)")
    return value


def _job_name(value: str) -> str:
    # Slurm puts it into the names of files, where % and / mean something.
    if value and not (NAME.fullmatch(value) and len(value) <= LONGEST_NAME):
        raise ValueError(f"use at most {LONGEST_NAME} letters, digits and _ . + = -")
    return value


def _slurm_name(value: str) -> str:
    if value and not SLURM_NAME.fullmatch(value):
        raise ValueError("use the name that Slurm has for it, several with commas")
    return value


def _memory(value: str) -> str:
    if value and not MEMORY.fullmatch(value):
        raise ValueError("expected an amount such as 96G, or megabytes")
    return value


def _time(value: str) -> str:
    if seconds_of(value) <= 0:
        raise ValueError("must be more than zero")
    return value


def _time_or_none(value: str) -> str:
    return _time(value) if value else value


def _orphan_grace(value: str) -> str:
    if value not in {"", TO_SCENES_END}:
        try:
            seconds_of(value)
        except ValueError as error:
            raise ValueError(f"{error}, or {TO_SCENES_END}") from error
    return value


def _globs(value: tuple[str, ...]) -> tuple[str, ...]:
    for glob in value:
        path = PurePath(glob)
        if not glob or path.is_absolute() or ".." in path.parts or path == PurePath():
            raise ValueError(f"{glob!r}: name files inside the scene's output folder")
        try:
            next(Path(os.devnull).glob(glob), None)  # which has nothing to be searched
        except (OSError, ValueError, IndexError, NotImplementedError) as error:
            raise ValueError(f"{glob!r} is not a glob: {error}") from error
    return value


# The schemas let a form refuse a value before anything is started; the validators explain it.
_NAME_WORDS = "letters, digits and _ . + = -, e.g. my_exp"
_TIME_WORDS = "a time in Slurm's formats, e.g. 3:00:00, 1-12:00:00, or minutes"
_LENGTH: JsonDict = {"maxLength": LONGEST_NAME}
_A_NAME = refused_unless(f"^{NAME.pattern}$", _NAME_WORDS) | _LENGTH
_A_NAME_OR_NONE = refused_unless(f"^({NAME.pattern})?$", _NAME_WORDS) | _LENGTH
_A_TIME = refused_unless(f"^{SLURM_TIME.pattern}$", _TIME_WORDS)
_A_TIME_OR_NONE = refused_unless(f"^({SLURM_TIME.pattern})?$", _TIME_WORDS)
_A_GRACE = refused_unless(
    f"^({TO_SCENES_END}|{SLURM_TIME.pattern})?$", f"{TO_SCENES_END}, or {_TIME_WORDS}"
)
_A_SLURM_NAME = refused_unless(f"^({SLURM_NAME.pattern})?$", "a name that Slurm knows")
_AN_AMOUNT = refused_unless(f"^({MEMORY.pattern})?$", "an amount such as 96G, or megabytes")
_AN_OVERRIDE = refused_unless(OVERRIDE.pattern, "key=value, e.g. seed=1")

FolderName = Annotated[str, AfterValidator(folder_name), Field(json_schema_extra=_A_NAME)]
JobName = Annotated[str, AfterValidator(_job_name), Field(json_schema_extra=_A_NAME_OR_NONE)]
SlurmName = Annotated[str, AfterValidator(_slurm_name), Field(json_schema_extra=_A_SLURM_NAME)]
Memory = Annotated[str, AfterValidator(_memory), Field(json_schema_extra=_AN_AMOUNT)]
Time = Annotated[str, AfterValidator(_time), Field(json_schema_extra=_A_TIME)]
TimeOrNone = Annotated[str, AfterValidator(_time_or_none), Field(json_schema_extra=_A_TIME_OR_NONE)]
OrphanGrace = Annotated[str, AfterValidator(_orphan_grace), Field(json_schema_extra=_A_GRACE)]
KeysAndValues = Annotated[
    tuple[str, ...], Field(json_schema_extra={"items": {"type": "string", **_AN_OVERRIDE}})
]
Globs = Annotated[tuple[str, ...], AfterValidator(_globs)]
