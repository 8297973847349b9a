"""The fingerprint of a scene's result: a hash of what decides it.

That is the resolved configuration, with the content of the files that it names in place of their
paths, and the scene's JSON. The trainer's code is not in it: `code_version.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from preprocess.faults import Fault, FaultsError
from preprocess.roots import start_folder
from training.configuration.run_modes import REFINER_TRAIN
from training.records.expected_outputs import has_checkpoint
from training.records.record import RecordError, read_record

FORMAT = "2-"
"""Begins every fingerprint; those of the version before have no such prefix."""
IGNORED_KEYS = (
    "shared.wandb",
    "shared.tensorboard",
    "shared.results_root",
    "shared.scene_data_root",
    "shared.scene_file",
    "shared.scene_name",
    "shared.exp_name",
)
"""Keys and sections that name the run, its folders and its loggers: they change no output."""
LARGEST_HASHED_BYTES = 2**28
"""Larger files of another script count by their size: hashing them would delay every dry run."""


def fingerprint(deciding: Mapping[str, Any], scene: Mapping[str, Any]) -> str:
    """Return the fingerprint of a scene's JSON trained with these values by key."""
    return FORMAT + digest([deciding, scene])


def combined(own: str, made_from: Iterable[Iterable[str]]) -> str:
    """Return a fingerprint together with when each thing was made that the result is made from."""
    return FORMAT + digest([own, list(map(list, made_from))])


def is_comparable(recorded: str) -> bool:
    """Return whether a recorded fingerprint has today's format; others can't be recomputed."""
    return recorded.startswith(FORMAT)


def without_ignored(values: Mapping[str, Any], more: Iterable[str] = ()) -> dict[str, Any]:
    """Return values by dotted key without `IGNORED_KEYS` and `more`, their sections included."""
    ignored = (*IGNORED_KEYS, *more)
    sections = tuple(f"{key}." for key in ignored)
    return {
        key: value
        for key, value in values.items()
        if key not in ignored and not key.startswith(sections)
    }


def with_contents(values: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the values with, for each key of `files`, a hash of the file's content.

    A file that is not there counts as missing: it appearing later is a change. Raises FaultsError
    for one that can't be read.
    """
    hashes = {path: content_hash(path) for path in set(files.values())}
    return {**values, **{key: {"content": hashes[path]} for key, path in files.items()}}


def files_named(values: Mapping[str, Any], outputs: Iterable[Path]) -> dict[str, Path]:
    """Return by key the existing files that values name; relative paths start at `start_folder`.

    Files below the `outputs` folders are left out: a run writes them itself.
    """
    start = start_folder()
    texts = {key: start / value for key, value in values.items() if isinstance(value, str)}
    folders = [Path(os.path.abspath(folder)) for folder in outputs]
    return {
        key: path
        for key, path in texts.items()
        if _is_file(path) and not any(map(Path(os.path.abspath(path)).is_relative_to, folders))
    }


def digest(content: Any) -> str:
    """Return a short hash of plain data; the order of a mapping's keys does not count."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_file(path: Path) -> bool:
    """Return whether a text is the path of a file; one that can be no path is not."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def content_hash(path: Path) -> str:
    """Return a hash of a file's content, `missing` without the file; raises FaultsError."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > LARGEST_HASHED_BYTES:
                return f"{size} bytes"
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        raise FaultsError(
            [Fault("a file of the configuration can't be read", str(error))]
        ) from error


def last_made(folder: Path) -> list[str]:
    """Return what tells apart what an output folder has held; empty without a usable result.

    Of a refiner its weights' hash, of others when the attempts ended that made it. Raises
    RecordError for weights or a record that can't be read.
    """
    weights = folder / REFINER_TRAIN.expected_outputs[0]
    if weights.is_file():
        try:
            return [content_hash(weights)]
        except FaultsError as error:
            raise RecordError(str(error)) from error
    record = read_record(folder)
    if record is None or not (record.status == "done" or has_checkpoint(folder)):
        return []
    return [str(attempt.end) for attempt in record.attempts]
