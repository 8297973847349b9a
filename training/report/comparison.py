"""Compare experiments scene by scene: settings, numbers and pictures of the same scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from training.report.metrics import Column, Numbers, used_columns
from training.report.scene_rows import Row
from training.report.settings import common_settings, different_settings
from training.report.tables import csv_text

PAIR = 2
"""Two experiments have one difference."""
CODE, CODE_LETTERS = "(trainer's code)", 7
"""Stands among the settings for the version of the code that trained."""


@dataclass(frozen=True)
class Compared:
    """A scene of all experiments, with its numbers and its picture in each, in their order."""

    scene: str
    numbers: tuple[Numbers, ...]
    pictures: tuple[Path | None, ...]

    def values(self, key: str) -> list[float | None]:
        """Return a number in each experiment."""
        return [each.get(key) for each in self.numbers]

    def difference(self, key: str, other: int) -> float | None:
        """Return a number of the first experiment minus that of another, from all their digits."""
        ours, theirs = self.numbers[0].get(key), self.numbers[other].get(key)
        return None if ours is None or theirs is None else ours - theirs

    @cached_property
    def in_all(self) -> Numbers:
        """The numbers that every experiment has of this scene; values are the first one's."""
        keys = set.intersection(*(set(each) for each in self.numbers))
        return {key: value for key, value in self.numbers[0].items() if key in keys}


@dataclass(frozen=True)
class Comparison:
    """The scenes of several experiments; differences are the first minus each of the others."""

    names: tuple[str, ...]
    scenes: tuple[Compared, ...]
    """The scenes with a number to compare in all experiments."""
    left_out: tuple[tuple[str, str], ...]
    """The other scenes, each with the reason."""
    configured: tuple[str, ...]
    """The experiments whose records say their configuration."""
    settings: Mapping[str, Sequence[Any]]
    """By key the values in which the configurations of those differ."""

    @property
    def columns(self) -> list[Column]:
        """The columns that some scene has in all experiments."""
        return used_columns((each.in_all for each in self.scenes), "comparison")

    def with_number(self, key: str) -> list[Compared]:
        """Return the scenes that have that number in all experiments."""
        return [each for each in self.scenes if key in each.in_all]

    def mean(self, key: str, place: int) -> float:
        """Return the mean of a number in one experiment, over the scenes that all have it of."""
        return fmean(each.numbers[place][key] for each in self.with_number(key))

    def mean_difference(self, key: str, other: int) -> float:
        """Return the mean of the first experiment minus that of another."""
        return self.mean(key, 0) - self.mean(key, other)


def compare(experiments: Sequence[tuple[str, Sequence[Row]]]) -> Comparison:
    """Set the rows of two or more experiments, given by name, side by side by the scenes' names."""
    names = tuple(name for name, _ in experiments)
    rows = [{row.scene: row for row in each} for _, each in experiments]
    scenes = dict.fromkeys(scene for each in rows for scene in each)
    in_all = [scene for scene in scenes if all(scene in each for each in rows)]
    candidates = [_compared(scene, [each[scene] for each in rows]) for scene in in_all]
    with_numbers = [each for each in candidates if used_columns([each.in_all], "comparison")]
    compared = {each.scene for each in with_numbers}
    found = {name: _configuration(each) for name, each in experiments}
    configurations = {name: each for name, each in found.items() if each}
    return Comparison(
        names=names,
        scenes=tuple(with_numbers),
        left_out=tuple(
            (scene, _why_left_out(names, [each.get(scene) for each in rows]))
            for scene in scenes
            if scene not in compared
        ),
        configured=tuple(configurations),
        settings=different_settings(list(configurations.values())),
    )


def _compared(scene: str, rows: Sequence[Row]) -> Compared:
    numbers, pictures = (row.numbers for row in rows), (row.picture for row in rows)
    return Compared(scene, tuple(numbers), tuple(pictures))


def _why_left_out(names: Sequence[str], rows: Sequence[Row | None]) -> str:
    having = [name for name, row in zip(names, rows, strict=True) if row]
    if len(having) < len(names):
        return f"only in {' and '.join(having)}"
    states = [
        f"{row.state_and_cause} in {name}" for name, row in zip(names, rows, strict=True) if row
    ]
    return ", ".join(states)


def _configuration(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what decided the results of an experiment; empty where its records don't say it."""
    recorded = [row for row in rows if row.configuration]
    if not recorded:
        return {}
    versions = [row.last.code_version for row in recorded if row.last and row.last.code_version]
    code = " and ".join(sorted({version.digest[:CODE_LETTERS] for version in versions}))
    return {**common_settings([row.configuration for row in recorded]), CODE: code}


def to_csv(comparison: Comparison) -> str:
    """Return the numbers with all their digits, a line a scene, and the differences.

    Those of two experiments are `<number>_difference`, of more `<number>_minus_<other>`.
    """
    names, keys = comparison.names, [column.key for column in comparison.columns]
    others = range(1, len(names))
    head = ["scene"]
    for key in keys:
        head += [f"{key}_{names[place]}" for place in (*others, 0)]
        head += [f"{key}_minus_{names[other]}" for other in others] if len(names) > PAIR else []
        head += [f"{key}_difference"] if len(names) == PAIR else []
    return csv_text(head, [_csv_line(each, keys, others) for each in comparison.scenes])


def _csv_line(scene: Compared, keys: Sequence[str], others: Sequence[int]) -> list[Any]:
    cells: list[Any] = []
    for key in keys:
        values = scene.values(key)
        cells += [*(values[place] for place in (*others, 0))]
        cells += [scene.difference(key, other) for other in others]
    return [scene.scene, *("" if cell is None else cell for cell in cells)]
