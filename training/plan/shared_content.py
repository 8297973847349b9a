"""What scenes have in common stands once in a plan's file: ten thousand read it as one object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator

SHARED, COMMAND = "shared", "launch_command"
"""Keys of a plan's file; the command is the plan's own."""
BEFORE = "configuration"
"""Key of the files of version 2, and `configurations`, by experiment, of sweeps."""
NEXT, LAST, END = ",\n", "\n", "]}\n"
"""What follows a scene in a plan's file, what the last one, and what all of them."""
OF_EACH_SCENE = frozenset({"name", "exp_name", "scene", "scene_file", "action", "output"})
"""Never shared, not even in a plan of one scene: other programs read them in the file."""


@lru_cache(maxsize=100_000)
def _path_of(text: str) -> Path:
    return Path(text)


def _shared_path(value: object) -> Path:
    """Return a path, the same for equal texts: plans of one experiment name the same folders."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("not a path")  # noqa: TRY004 - pydantic reports ValueErrors
    return _path_of(value)


SharedPath = Annotated[Path, PlainValidator(_shared_path)]
"""A path of a scene; it is the same object in all plans of this process that name it."""


def spread(content: Any, objects_of: Callable[[dict[str, Any]], Mapping[str, Any]] | None) -> Any:
    """Return the content of a plan's file with what scenes share in each of them.

    `objects_of`: makes objects out of a scene's content, by key, once for each experiment; None for
    content that must stay JSON.
    """
    if not isinstance(content, dict) or not content.keys() & {SHARED, BEFORE, COMMAND}:
        return content
    shared = _shared_of(content)
    scenes, made = [], dict[str, dict[str, Any]]()
    for each in content["scenes"]:
        if not isinstance(each, dict):
            scenes.append(each)
            continue
        name = each["exp_name"]
        if name not in made:
            made[name] = common = shared(name)
            if objects_of:
                objects = objects_of({**common, **each})
                made[name] = {key: objects[key] for key in common if key in objects}
        scenes.append({**made[name], **each})
    return {**content, "scenes": scenes}


def file_lines(plan: Any, keys: Iterable[str]) -> Iterator[str]:
    """Yield the content of a plan's file: its beginning, a line for each scene, `END`.

    `keys`: of a scene's content. The beginning with any one of the scenes and `END` is a plan, too.
    """
    same, firsts = same_for_all(plan.scenes, keys)
    own = same - {COMMAND}
    shared = {name: each.model_dump(mode="json", include=own) for name, each in firsts.items()}
    rest = plan.model_dump_json(indent=1, exclude={"scenes"}).removeprefix("{").removesuffix("\n}")
    yield f'{{"{SHARED}": {json.dumps(shared, indent=1)},{rest},\n "scenes": [\n'
    last = len(plan.scenes) - 1
    for number, scene in enumerate(plan.scenes):
        yield scene.model_dump_json(exclude=same) + (NEXT if number < last else LAST)
    yield END


def same_for_all(scenes: Iterable[Any], keys: Iterable[str]) -> tuple[set[str], dict[str, Any]]:
    """Return the keys whose values are equal in all scenes of an experiment, and a scene of each.

    What tells one scene from another is none of them; by `exp_name` it finds what it shares.
    """
    firsts: dict[str, Any] = {}
    same = set(keys) - OF_EACH_SCENE
    for scene in scenes:
        first = firsts.setdefault(scene.exp_name, scene)
        same -= {key for key in same if not _is_same(getattr(first, key), getattr(scene, key))}
    return same, firsts


def _shared_of(content: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Return a function that gives what all scenes of an experiment share, by its name."""
    command = {COMMAND: content.get(COMMAND, "")}
    if SHARED in content:
        return lambda name: {**content[SHARED].get(name, {}), **command}
    of_all, by_name = content.get(BEFORE, {}), content.get("configurations", {})
    return lambda name: {BEFORE: by_name.get(name, of_all), **command}


def _is_same(one: object, other: object) -> bool:
    """Return whether both are the same text, too: 1, 1.0 and True are equal."""
    return one is other or (one == other and repr(one) == repr(other))
