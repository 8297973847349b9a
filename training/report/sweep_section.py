"""What a sweep has found: numbers by setting over scenes and seeds, and the best settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from preprocess.faults import MOST_NAMES, counted
from training.plan.sweep import parameters_of
from training.report.blocks import Block, Heading, Item, Items, Table, Text
from training.report.metrics import Column, Place, used_columns
from training.report.scene_rows import Row
from training.report.tables import aligned

SEED = "seed"


@dataclass(frozen=True)
class Group:
    """The rows of one setting, whatever their scene and seed."""

    parameters: tuple[tuple[str, str], ...]
    """Keys and values, without the seed."""
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """`epochs=30,depth=0.1`; `all` where only seeds are swept."""
        return ",".join(f"{key}={value}" for key, value in self.parameters) or "all"

    @cached_property
    def done(self) -> list[Row]:
        """Those that are done."""
        return [row for row in self.rows if row.is_done]

    def values(self, column: Column) -> list[float]:
        """Return that number of each row that is done and has it."""
        return [row.numbers[column.key] for row in self.done if column.key in row.numbers]

    def text(self, column: Column) -> str:
        """Return `22.9 ± 0.4`: mean and standard deviation over scenes and seeds."""
        values = self.values(column)
        if not values:
            return ""
        spread = f" ± {column.text(stdev(values))}" if len(values) > 1 else ""
        return column.text(fmean(values)) + spread


def groups_of(rows: Iterable[Row]) -> list[Group]:
    """Return the settings of a sweep, numbers in their order; none of other experiments."""
    found: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        if row.setting:
            found.setdefault(_without_seed(row.setting), []).append(row)
    return sorted(
        (Group(parameters, tuple(each)) for parameters, each in found.items()),
        key=lambda group: [(key, *in_order(value)) for key, value in group.parameters],
    )


def _without_seed(setting: str) -> tuple[tuple[str, str], ...]:
    pairs = parameters_of(setting).items()
    return tuple((key, value) for key, value in pairs if key.rpartition(".")[2] != SEED)


def in_order(value: str) -> tuple[float, str]:
    """Return what values are sorted by: numbers by size, before texts."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def sweep_table(groups: Sequence[Group], place: Place = "report") -> Table:
    """Return a line for each setting: what is swept, how many are done, means and spreads."""
    keys = _keys(groups)
    columns = used_columns((row.numbers for group in groups for row in group.done), place)
    return Table(
        head=[*(keys or ["setting"]), "done", *(column.heading for column in columns)],
        lines=[[*_cells(group, keys), *(group.text(each) for each in columns)] for group in groups],
        text_columns=max(1, len(keys)) + 1,
    )


def _keys(groups: Iterable[Group]) -> list[str]:
    return list(dict.fromkeys(key for group in groups for key, _ in group.parameters))


def _cells(group: Group, keys: Sequence[str]) -> list[str]:
    values = dict(group.parameters)
    count = f"{len(group.done)} of {len(group.rows)}"
    return [*([values.get(key, "") for key in keys] or [group.name]), count]


def best_settings(groups: Sequence[Group], place: Place = "report") -> list[Item]:
    """Return the best setting by each number, of those with all scenes of the sweep done.

    Of all settings where none is complete; none of a single one.
    """
    chosen = _complete(groups) or groups
    columns = used_columns((row.numbers for group in chosen for row in group.done), place)
    if len(groups) < 2:  # noqa: PLR2004 - nothing to choose from
        return []
    rated = [each for each in columns if each.combine == "mean" and each.is_less_better is not None]
    found = [(column, _best(chosen, column)) for column in rated]
    return [
        Item(f"best {column.heading}", f"{best.name}: {best.text(column)}")
        for column, best in found
        if best
    ]


def _complete(groups: Sequence[Group]) -> list[Group]:
    """Return the settings with all scenes of the sweep, each of them done."""
    scenes = {row.scene_name for group in groups for row in group.rows}
    return [
        group
        for group in groups
        if len(group.done) == len(group.rows) and {row.scene_name for row in group.rows} == scenes
    ]


def _best(groups: Sequence[Group], column: Column) -> Group | None:
    having = [group for group in groups if group.values(column)]
    choose: Callable[..., Group | None] = min if column.is_less_better else max
    return choose(having, key=lambda group: fmean(group.values(column)), default=None)


def sweep_lines(rows: Sequence[Row], width: int | None) -> list[str]:
    """Return a sweep for a terminal: its table, the best settings, what has not been started.

    `width` as in `tables.terminal_lines`. Nothing for other experiments.
    """
    groups = groups_of(rows)
    if not groups:
        return []
    columns = used_columns((row.numbers for row in rows), "terminal")
    table = sweep_table(groups, "terminal")
    leaves = dict.fromkeys(table.head, 0) | {each.heading: each.leaves for each in columns}
    best = [f"{item.name}: {item.text}" for item in best_settings(groups, "terminal")]
    waiting = [row.scene for row in rows if row.state == "not started"]
    named = ", ".join(waiting[:MOST_NAMES]) + ", …" * (len(waiting) > MOST_NAMES)
    missing = [f"{counted(len(waiting), 'scene')} not started: {named}"] if waiting else []
    return [*aligned(table, width, leaves), *([""] if best or missing else []), *best, *missing]


def sweep_section(rows: Sequence[Row]) -> list[Block]:
    """Return what a sweep has found; nothing for other experiments."""
    groups = groups_of(rows)
    if not groups:
        return []
    incomplete = len(groups) - len(_complete(groups))
    note = (
        f" Of {incomplete} settings scenes are missing: their means are over fewer, and the"
        " best is chosen without them."
    )
    best = best_settings(groups)
    return [
        Heading("By setting"),
        Text(
            "Mean ± standard deviation over scenes and seeds."
            + (note if 0 < incomplete < len(groups) else "")
        ),
        sweep_table(groups),
        *([Items(tuple(best))] if best else []),
    ]
