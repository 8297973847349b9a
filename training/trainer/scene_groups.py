"""Groups of scenes with the same people, and which of them are held out from the refiner."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.trainer.config.schema import DataSet, DifixDataGeneration

CONFIG_KEY = "difix_data_generation"


@dataclass(frozen=True, order=True)
class Group:
    """Scenes that are never split between train and test; groups of two data sets always differ."""

    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.name}"


def group_of(scene: str, settings: DifixDataGeneration) -> Group:
    """Return the group of a scene, by its name.

    Raises FaultsError when its data set is unknown and `strict`, or its name fits no group.
    """
    dataset = _dataset_of(scene, settings.datasets)
    if dataset is None:
        if settings.strict:
            raise FaultsError([_unknown(scene, settings.datasets)])
        return Group(scene.partition("_")[0], scene)
    pattern = settings.datasets[dataset].group_pattern
    if pattern is None:
        return Group(dataset, scene)
    found = re.search(pattern, scene)
    if found is None or not found[1]:
        remedy = (
            f"its group_pattern is {pattern!r}: set {CONFIG_KEY}.datasets.{dataset}.group_pattern"
        )
        raise FaultsError([Fault(f"no group of {dataset} is in the scene's name", scene, remedy)])
    return Group(dataset, found[1])


def groups_of(scenes: Iterable[str], settings: DifixDataGeneration) -> dict[str, Group]:
    """Return each scene's group, in order; raises FaultsError with all scenes that have none."""
    groups: dict[str, Group] = {}
    faults: list[Fault] = []
    for scene in scenes:
        try:
            groups[scene] = group_of(scene, settings)
        except FaultsError as error:
            faults += error.faults
    if faults:
        raise FaultsError(faults)
    return groups


def held_out_groups(groups: Iterable[Group], settings: DifixDataGeneration) -> frozenset[Group]:
    """Return the groups that are kept for testing; raises FaultsError for one that no scene has."""
    there = sorted(set(groups))
    if settings.test_groups is None:
        return frozenset(group for group in there if _is_held_out(group, settings.datasets))
    faults = [
        Fault(
            f"{CONFIG_KEY}.test_groups names a group that no scene belongs to",
            wanted,
            did_you_mean(wanted, map(str, there)),
        )
        for wanted in settings.test_groups
        if not any(_is_meant(wanted, group) for group in there)
    ]
    if faults:
        raise FaultsError(faults)
    wanted_groups = settings.test_groups
    return frozenset(
        group for group in there if any(_is_meant(wanted, group) for wanted in wanted_groups)
    )


def empty_train_fault(groups: Collection[Group], held_out: Collection[Group]) -> Fault | None:
    """Return a fault where every group is held out, so that nothing is left to train with."""
    if not set(groups) <= set(held_out):
        return None
    remedy = (
        f"choose scenes of other groups too, or other {CONFIG_KEY}.test_groups; "
        f"{CONFIG_KEY}.strict=false makes a test set alone"
    )
    names = ", ".join(sorted(map(str, set(held_out))))
    return Fault(
        "all chosen scenes are of test groups: data.json gets an empty train", names, remedy
    )


def _dataset_of(scene: str, datasets: Mapping[str, DataSet]) -> str | None:
    """Return the data set with the longest name that the scene's name begins with, or None."""
    fitting = [name for name in datasets if scene == name or scene.startswith(f"{name}_")]
    return max(fitting, key=len, default=None)


def _is_held_out(group: Group, datasets: Mapping[str, DataSet]) -> bool:
    return group.dataset in datasets and group.name in datasets[group.dataset].test_groups


def _is_meant(wanted: str, group: Group) -> bool:
    return wanted in (group.name, str(group))


def _unknown(scene: str, datasets: Mapping[str, DataSet]) -> Fault:
    name = scene.partition("_")[0]
    remedy = (
        f"the scene's name begins with one of: {', '.join(datasets)}; or name it, so that each "
        f"scene is a group: '+{CONFIG_KEY}.datasets.{name}={{group_pattern:null,test_groups:[]}}'; "
        f"or set {CONFIG_KEY}.strict=false"
    )
    return Fault(f"{scene} is of an unknown data set", name, remedy)
