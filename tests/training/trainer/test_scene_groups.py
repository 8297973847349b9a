"""Which split a scene is in: groups come from names and are held out whole."""

from __future__ import annotations

import pytest

from preprocess.faults import FaultsError
from training.trainer.config.compose import load_config
from training.trainer.difix.dataset import SceneCounts
from training.trainer.difix.dataset_summary import refuse_leaks
from training.trainer.scene_groups import Group, group_of, held_out_groups
from training.trainer.termination import TrainingError

KEY = "difix_data_generation"
COMMAND = ("shared.exp_name=exp", "run_mode=difix_data_generation_aggregate")


def settings(*overrides):
    return load_config([*COMMAND, *overrides]).difix_data_generation


@pytest.mark.parametrize(
    ("scene", "group"),
    [
        ("hi4d_pair17_dance", Group("hi4d", "pair17")),
        ("hi4d_pair170_dance17", Group("hi4d", "pair170")),
        ("synthetic_pair01_hug", Group("synthetic", "pair01")),
        ("mine_day1_take2", Group("mine", "day1")),
        ("mine_more_take2", Group("mine_more", "mine_more_take2")),
    ],
)
def test_a_scene_is_grouped_by_its_name(scene, group):
    """By pair; by a configured expression; by itself where the expression is null."""
    mine = "'+difix_data_generation.datasets.mine={group_pattern:\"_(day[0-9]+)_\",test_groups:[]}'"
    more = "+difix_data_generation.datasets.mine_more={group_pattern:null,test_groups:[]}"
    assert group_of(scene, settings(mine.strip("'"), more)) == group


def test_an_unknown_data_set_is_a_fault_when_strict():
    """Both remedies are named; otherwise each scene is a group."""
    with pytest.raises(FaultsError, match=r"datasets\.other=.*group_pattern:null.*strict=false"):
        group_of("other_pair01_hug", settings())
    lenient = settings(f"{KEY}.strict=false")
    assert group_of("other_pair01_hug", lenient) == Group("other", "other_pair01_hug")
    with pytest.raises(FaultsError, match="no group of hi4d is in the scene's name: hi4d_hug"):
        group_of("hi4d_hug", lenient)


def test_groups_in_use_are_held_out_by_default_and_data_sets_kept_apart():
    """Hi4D's pair15 is not the synthetic pair15; an explicit name means both, or one of them."""
    groups = [Group("hi4d", f"pair{number}") for number in range(10, 20)]
    groups.append(Group("synthetic", "pair15"))
    chosen = {str(group) for group in held_out_groups(groups, settings())}
    assert chosen == {"hi4d/pair15", "hi4d/pair16", "hi4d/pair17", "hi4d/pair19"}
    both = held_out_groups(groups, settings(f"{KEY}.test_groups=[pair15]"))
    assert {str(group) for group in both} == {"hi4d/pair15", "synthetic/pair15"}
    assert held_out_groups(groups, settings(f"{KEY}.test_groups=[]")) == frozenset()


def test_a_group_on_both_sides_is_refused():
    """Whatever put it into both splits."""
    sides = [
        SceneCounts(f"scene_{split}", Group("hi4d", "pair15"), split, "initial", {}, {})
        for split in ("train", "test")
    ]
    refuse_leaks(sides[:1])
    with pytest.raises(TrainingError, match="on both sides of the split: hi4d/pair15"):
        refuse_leaks(sides)
