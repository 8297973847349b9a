"""Split scenes into as many arrays as Slurm's MaxArraySize asks for, under one bound.

Slurm throttles each array by itself (`--array=0-99%4`). Arrays that ran one after the other would
each wait for the last scene of the one before; so they run side by side, each with a share of the
bound and of the scenes, and end at about the same time. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from training.plan.model import Plan


@dataclass(frozen=True)
class ArrayChunk:
    """The scenes of one array job: `count` of the plan's scenes to run, beginning at `offset`."""

    offset: int
    count: int
    at_once: int | None = None
    """Its share of the bound; None for all of it."""
    lane: int = 0
    """Arrays of one lane run one after the other, those of others beside them."""


def array_chunks(scenes: int, max_array_size: int, parallelism: int) -> tuple[ArrayChunk, ...]:
    """Split so many scenes, of which so many may run at once, into arrays, in order.

    One array where all fit. Else each lane has a share of the bound, and as many scenes as that;
    the shares add up to the bound. A lane has several arrays only where the bound is too small for
    a share each.
    """
    if scenes <= max_array_size:
        return (ArrayChunk(0, scenes),) if scenes else ()
    sizes = lane_sizes(scenes, max_array_size, parallelism)
    starts = [0, *accumulate(sizes)]
    return tuple(
        ArrayChunk(
            offset=start + first,
            count=min(max_array_size, size - first),
            at_once=_share(lane, len(sizes), parallelism),
            lane=lane,
        )
        for lane, (start, size) in enumerate(zip(starts, sizes, strict=False))
        for first in range(0, size, max_array_size)
    )


def dealt(plan: Plan, max_array_size: int) -> Plan:
    """Return the plan with its scenes to run in the order in which `array_chunks` splits them.

    Each lane gets some of the first scenes, which are the longest, and some of the last.
    """
    scenes = plan.of("run")
    bound = plan.slurm.parallelism if plan.slurm else 1
    if len(scenes) <= max_array_size:
        return plan
    sizes = lane_sizes(len(scenes), max_array_size, bound)
    # The k-th scene of a lane of n comes when the lane is (k + 0.5) / n full.
    turns = [((k + 0.5) / size, lane, k) for lane, size in enumerate(sizes) for k in range(size)]
    place = {(lane, k): number for number, (_, lane, k) in enumerate(sorted(turns))}
    order = iter([scenes[place[lane, k]] for lane, size in enumerate(sizes) for k in range(size)])
    mixed = tuple(next(order) if scene.action == "run" else scene for scene in plan.scenes)
    return plan.model_copy(update={"scenes": mixed})


def lane_sizes(scenes: int, max_array_size: int, parallelism: int) -> list[int]:
    """Return how many scenes each lane has, in proportion to its share of the bound."""
    bound = min(parallelism, scenes)
    fewest = -(-scenes // max_array_size)
    lanes = min(fewest, bound)
    while lanes < bound and -(-scenes * _share(0, lanes, bound) // bound) > max_array_size:
        lanes += 1
    ends = [*accumulate(_share(lane, lanes, bound) for lane in range(lanes))]
    places = [scenes * end // bound for end in ends]
    return [end - start for start, end in zip([0, *places], places, strict=False)]


def _share(lane: int, lanes: int, parallelism: int) -> int:
    return parallelism // lanes + (lane < parallelism % lanes)
