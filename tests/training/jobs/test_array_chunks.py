"""Ten thousand scenes in as many arrays as a site allows, under one bound, the longest first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from training.jobs.array_chunks import ArrayChunk, array_chunks, dealt

MAX = 1001


@pytest.mark.parametrize(
    ("scenes", "parallelism"),
    [(10_000, 256), (10_000, 16), (10_000, 4), (10_000, 1), (1002, 1001), (2500, 7), (1002, 9999)],
)
def test_lanes_share_the_bound_and_the_scenes(scenes, parallelism):
    """No scene is lost or in two arrays, none is too large, and the shares add up to the bound."""
    chunks = array_chunks(scenes, MAX, parallelism)
    indices = [index for each in chunks for index in range(each.offset, each.offset + each.count)]
    assert indices == list(range(scenes))
    assert max(each.count for each in chunks) <= MAX
    shares = {each.lane: each.at_once for each in chunks}
    assert sum(shares.values()) == parallelism
    waves = dict.fromkeys(shares, 0.0)
    for each in chunks:
        waves[each.lane] += each.count / each.at_once
    assert max(waves.values()) - min(waves.values()) <= 1


def test_what_fits_is_one_array():
    """As many as the site allows, and none for no scene."""
    assert array_chunks(MAX, MAX, 4) == (ArrayChunk(0, MAX),)
    assert array_chunks(0, MAX, 4) == ()


def test_each_lane_gets_some_of_the_longest_scenes():
    """Else one lane would have them all, and run alone at the end."""

    class Plan(SimpleNamespace):
        def of(self, action):
            return tuple(scene for scene in self.scenes if scene.action == action)

        def model_copy(self, update):
            return Plan(**{**vars(self), **update})

    actions = ["skip", *["run"] * 10, "held"]
    scenes = tuple(SimpleNamespace(number=n, action=each) for n, each in enumerate(actions))
    plan = Plan(scenes=scenes, slurm=SimpleNamespace(parallelism=3))
    mixed = dealt(plan, 5)
    order = [scene.number for scene in mixed.of("run")]
    lanes = [order[each.offset : each.offset + each.count] for each in array_chunks(10, 5, 3)]
    assert sorted(order) == list(range(1, 11))
    assert [lane == sorted(lane) for lane in lanes] == [True] * len(lanes)
    assert all(min(lane) <= len(lanes) for lane in lanes)
    assert [scene.number for scene in mixed.scenes][::11] == [0, 11]
    assert dealt(plan, 10) is plan
