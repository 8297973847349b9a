"""What a refiner loop has won: novel views rendered, refined and captured, beside none at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from training.plan.loop import SOURCES, experiment_of
from training.plan.model import Plan
from training.report.blocks import Block, Fact, Facts, Heading, Table, Text
from training.report.metrics import COLUMNS, Column
from training.report.scene_rows import Row, collect
from training.system.paths import Roots

KEYS = ("psnr", "psnr_foreground")
REFINED, CAPTURED = "refined", "captured"
ORDER = ("rendered", REFINED, CAPTURED)


@dataclass(frozen=True)
class _Gains:
    """One number of the scenes that all experiments have it of: without novel views, and gains."""

    column: Column
    none: Mapping[str, float]
    """By scene."""
    gains: Mapping[str, Mapping[str, float]]
    """By source of the novel views and scene, over `none`."""

    def mean(self, source: str) -> float:
        return fmean(self.gains[source].values())


def loop_section(
    plans: Iterable[Plan], rows: Sequence[Row], roots: Roots, output_subdir: str = ""
) -> list[Block]:
    """Return what the loop of an experiment has won, given the experiment's rows.

    Empty for an experiment that is no loop's own, such as those that it is compared with. `plans`:
    those of the experiment's runs that write to `output_subdir`.
    """
    loops = (plan.exp_name for plan in plans if plan.stage and plan.stage.loop == plan.exp_name)
    loop = next(loops, None)
    if loop is None or output_subdir:
        return []
    found = {source: collect(roots, experiment_of(loop, source), ()) for source in SOURCES}
    numbers = [_gains(column, rows, found) for column in COLUMNS if column.key in KEYS]
    known = [each for each in numbers if each.none]
    if not known:
        return [
            Heading("The refiner loop"),
            Text("No scene of a test group is done with all of: " + ", ".join(ORDER) + "."),
        ]
    return [
        Heading("The refiner loop"),
        Text(
            "Scenes of test groups, whose people the refiner was not tuned on: trained without "
            "novel views, and what they gain on held-out cameras by novel views that are rendered "
            "by the model itself, refined by the tuned refiner, or captured (true images)."
        ),
        Facts(tuple(map(_fact, known))),
        _table(known),
    ]


def _gains(column: Column, rows: Sequence[Row], found: Mapping[str, Sequence[Row]]) -> _Gains:
    none = _numbers(column, rows)
    with_views = {source: _numbers(column, each) for source, each in found.items()}
    scenes = [name for name in none if all(name in each for each in with_views.values())]
    gains = {
        source: {name: each[name] - none[name] for name in scenes}
        for source, each in with_views.items()
    }
    return _Gains(column, {name: none[name] for name in scenes}, gains)


def _numbers(column: Column, rows: Sequence[Row]) -> dict[str, float]:
    return {
        row.scene: row.numbers[column.key]
        for row in rows
        if row.is_done and column.key in row.numbers
    }


def _fact(gains: _Gains) -> Fact:
    """Return which part of what captured views gain the refined ones have won."""
    refined, captured = gains.mean(REFINED), gains.mean(CAPTURED)
    note = f"{refined:+.2f} of {captured:+.2f} dB, {gains.column.name}"
    part = f"{refined / captured:.0%}" if captured > 0 else "none to win"
    return Fact("won of what captured views gain", part, note)


def _table(known: Sequence[_Gains]) -> Table:
    names = (f"{each.column.name} {word}" for each in known for word in ("dB", *ORDER))
    scenes = list(known[0].none)
    lines = [[scene, *_cells(known, [scene])] for scene in scenes]
    mean = ["average", *_cells(known, scenes)]
    return Table(["scene", *names], lines, [mean] if len(scenes) > 1 else [], text_columns=1)


def _cells(known: Sequence[_Gains], scenes: Sequence[str]) -> list[str]:
    """Return the means over these scenes, of each number without novel views, then the gains."""
    cells = []
    for each in known:
        cells.append(_mean(each.none, scenes, ".2f"))
        cells += [_mean(each.gains[source], scenes, "+.2f") for source in ORDER]
    return cells


def _mean(numbers: Mapping[str, float], scenes: Sequence[str], form: str) -> str:
    found = [numbers[scene] for scene in scenes if scene in numbers]
    return format(fmean(found), form) if found else ""
