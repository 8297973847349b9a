"""Write a plan's file, and read one scene of it: each of ten thousand array tasks needs its own.

A scene is one line of the file. Beside it, `<plan>.offsets` says where lines begin, in numbers of
equal width: the first line of all, then those of the scenes to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.configuration.job_variables import without_secret_values
from training.plan.experiments import PlanFileError, plan_in, read_plan
from training.plan.model import Plan, ScenePlan
from training.plan.shared_content import END, NEXT, file_lines
from training.system.atomic_write import write_atomically

WIDTH = 12
"""Digits of an offset."""


def write_plan(plan: Plan) -> None:
    """Write a plan's file and the offsets of its scenes; raises OSError."""
    starts: list[int] = []
    write_atomically(plan.file, _noting_starts(plan, starts), private=_has_secrets(plan))
    scenes = zip(plan.scenes, starts[1:], strict=False)
    offsets = [starts[1], *(start for scene, start in scenes if scene.action == "run")]
    write_atomically(plan.scene_offsets, "".join(f"{each:0{WIDTH}}" for each in offsets))


def _has_secrets(plan: Plan) -> bool:
    """Return whether an override gives a secret, which trainers get on their command line."""
    return any(without_secret_values(each.command) != [*each.command] for each in plan.scenes)


def _noting_starts(plan: Plan, starts: list[int]) -> Iterator[bytes]:
    """Yield the lines of a plan's file, and note in `starts` where each begins."""
    position = 0
    for line in file_lines(plan, ScenePlan.model_fields):
        starts.append(position)
        text = line.encode()
        position += len(text)
        yield text


def read_scene_to_run(path: Path, number: int) -> Plan:
    """Return a plan as if its scene to run of that number, from 0, were its only one.

    Reads no more of the file than that, of a file of an older version all. Raises PlanFileError,
    and IndexError where there are not so many.
    """
    try:
        return plan_in(path, lambda: _with_one_scene(path, number))
    except PlanFileError:  # no offsets
        plan = read_plan(path)
        return plan.model_copy(update={"scenes": (plan.of("run")[number],)})


def _with_one_scene(path: Path, number: int) -> bytes:
    """Return the text of a plan with one scene; raises OSError, and ValueError without its offset.

    `number`: among the scenes to run.
    """
    with path.with_suffix(".offsets").open("rb") as stream:
        first = int(stream.read(WIDTH))
        stream.seek(WIDTH * (1 + number))
        offset = int(stream.read(WIDTH))
    with path.open("rb") as stream:
        beginning = stream.read(first)
        stream.seek(offset)
        return beginning + stream.readline().removesuffix(NEXT.encode()) + END.encode()
