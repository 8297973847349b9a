"""The scene registry: read every `*.json` of a folder, report all faults at once, and filter."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from preprocess.faults import (
    MOST_NAMES,
    Fault,
    FaultsError,
    did_you_mean,
    nearest,
    why_unreadable,
)
from preprocess.scene import Scene

REMEDIES = {
    "seq_name": 'write letters, digits, _ . - and begin with a letter: "seq_name": "pair17_dance"',
    "cam_id": 'write the source camera\'s number without quotes, 0 or more: "cam_id": 28',
    "raw_gt_dir_path": 'write a folder as text, or leave the key out: "data/pair17/dance17"',
    "video_path": 'write a path as text, or leave the key out: "data/pair17/images/28"',
    "ref_frame_idx": 'write a frame number, 0 or more, or leave the key out: "ref_frame_idx": 0',
    "genders": 'write one word a person, or leave the key out: "genders": ["female", "male"]',
    "synthetic": "write an object in braces as in preprocess/scenes/, or leave the key out",
}
SUFFIX = ".json"
SHOWN = 80  # characters of a wrong value
EXAMPLE = '{"seq_name": "hi4d_pair17_dance", "cam_id": 28}'


def load_scenes(folder: Path) -> list[Scene]:
    """Read the scenes of `folder`, in lexical order of file name; hidden files are not read.

    Raises FaultsError with the faults of all files: unreadable, not a JSON object, a number that
    JSON can't hold, a key missing or of the wrong type, a `seq_name` used twice, no scene at all.
    """
    scenes, faults = read_scenes(folder)
    if faults:
        raise FaultsError(faults)
    return scenes


def read_scenes(folder: Path) -> tuple[list[Scene], list[Fault]]:
    """Read the scenes of `folder` that can be read, and return the faults of the others.

    Raises FaultsError where the folder can't be read or has no scene file.
    """
    scenes: list[Scene] = []
    faults: list[Fault] = []
    for file in _scene_files(folder):
        try:
            scenes.append(_load_scene(file))
        except FaultsError as error:
            faults += error.faults
    return scenes, [*faults, *_duplicates(scenes)]


def select_scenes(scenes: Sequence[Scene], name_includes: str | None) -> list[Scene]:
    """Return the scenes whose `seq_name` contains `name_includes`; all of them for None.

    Raises FaultsError with the nearest names when none does.
    """
    chosen = [scene for scene in scenes if (name_includes or "") in scene.seq_name]
    if not chosen:
        remedy = did_you_mean(name_includes or "", [scene.seq_name for scene in scenes])
        raise FaultsError([Fault("no scene's seq_name contains", repr(name_includes), remedy)])
    return chosen


def named_scenes(scenes: Sequence[Scene], names: Sequence[str]) -> list[Scene]:
    """Return the scenes with these `seq_name`s, in the order of `scenes`; all of them for none.

    Raises FaultsError with the nearest name for each that no scene has.
    """
    known = [scene.seq_name for scene in scenes]
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown:
        raise FaultsError(
            Fault("no scene has the seq_name", repr(name), did_you_mean(name, known))
            for name in unknown
        )
    return [scene for scene in scenes if not names or scene.seq_name in names]


def left_out_warning(folder: Path) -> str:
    """Return a line on what in `folder` looks like scene files and is not read; empty if nothing.

    That is folders with JSON files in them, and files such as `B.JSON` or `c.json5`.
    """
    names = [f"{path.name}/" if path.is_dir() else path.name for path in _left_out(folder)]
    if not names:
        return ""
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    remedy = f"scenes are the *.json files of {folder} itself"
    return f"{len(names)} left out of the scenes: {shown}; {remedy}"


def _scene_files(folder: Path) -> list[Path]:
    try:
        entries = _visible(folder)
    except OSError as error:
        remedy = "name an existing folder of scene files with --scenes-dir"
        what = f"the folder of scenes can't be read: {error.strerror}"
        raise FaultsError([Fault(what, str(folder), remedy)]) from error
    files = [path for path in entries if path.suffix == SUFFIX]
    if not files:
        remedy = f"put one JSON file a scene into it, e.g. {EXAMPLE}, or name another --scenes-dir"
        value = "; ".join(filter(None, [str(folder), left_out_warning(folder)]))
        raise FaultsError([Fault("no scene file (*.json) in", value, remedy)])
    return files


def _left_out(folder: Path) -> list[Path]:
    return [
        path
        for path in _visible(folder)
        if path.suffix != SUFFIX and (_is_like_json(path) or _has_json(path))
    ]


def _is_like_json(path: Path) -> bool:
    return path.suffix.lower().startswith(SUFFIX)


def _has_json(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(map(_is_like_json, folder.iterdir()))
    except OSError:  # not ours to read
        return False


def _visible(folder: Path) -> list[Path]:
    entries = sorted(folder.iterdir(), key=lambda path: path.name)
    return [path for path in entries if path.name[0] != "."]


def _load_scene(file: Path) -> Scene:
    content = _read_object(file)
    try:
        return Scene.of(content, file)
    except ValidationError as error:
        raise FaultsError(_key_fault(file, content, each) for each in error.errors()) from error


def _read_object(file: Path) -> dict[str, Any]:
    """Return the file's JSON object; raises FaultsError when it isn't one or repeats a key."""
    try:
        text = file.read_bytes()
        content = _parsed(text) if text.strip() else None
    except OSError as error:
        raise FaultsError([Fault(f"{file} can't be read", *why_unreadable(error))]) from error
    except (ValueError, RecursionError) as error:
        raise FaultsError([Fault(f"{file} is not JSON", str(error), f"write {EXAMPLE}")]) from error
    if not text.strip():
        raise FaultsError([Fault(f"{file} is empty", remedy=f"write {EXAMPLE}")])
    if not isinstance(content, dict):
        what = f"{file} does not hold one JSON object, but"
        remedy = f"one file a scene, in braces: {EXAMPLE}"
        raise FaultsError([Fault(what, _shortened(content), remedy)])
    return content


def _parsed(text: bytes) -> Any:
    """Return the content of JSON; raises ValueError for what would reach a trainer as another."""
    content = json.loads(
        text,
        object_pairs_hook=_without_repeats,
        parse_constant=_finite,
        parse_float=_finite,
    )
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a character: {error.object[error.start]!a}") from error
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} is written twice")
    return content


def _key_fault(file: Path, content: dict[str, Any], error: Any) -> Fault:
    key = str(error["loc"][0])
    if error["type"] == "missing":
        unknown = [name for name in nearest(key, content) if name not in Scene.model_fields]
        meant = f" (is {unknown[0]!r} meant?)" if unknown else ""
        return Fault(f"{file} lacks {key}{meant}", remedy=REMEDIES[key])
    return Fault(f"{file}: {key}: {error['msg']}", _shortened(content[key]), REMEDIES[key])


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _duplicates(scenes: Iterable[Scene]) -> list[Fault]:
    first: dict[str, Scene] = {}
    faults = []
    for scene in scenes:
        if first.setdefault(scene.seq_name, scene) is not scene:
            what = f"{scene.file}: seq_name is already used by {first[scene.seq_name].file}"
            faults.append(Fault(what, scene.seq_name, "give each scene a seq_name of its own"))
    return faults
