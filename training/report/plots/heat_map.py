"""Plot a number of a sweep by setting, as a map of colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from training.report.metrics import Column, used_columns
from training.report.plots import charts
from training.report.plots.charts import INK, Plot
from training.report.scene_rows import Row
from training.report.sweep_section import Group, groups_of, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEAT_MAP = "sweep"
MOST_CELLS = 400
"""A map of more settings could not be read."""


def heat_map(rows: Sequence[Row]) -> Plot | None:
    """Plot the mean of a sweep's first number by setting: the last key across, the others down.

    None for other experiments, a single setting, or too many to be read.
    """
    groups = [group for group in groups_of(rows) if group.parameters]
    columns = used_columns(row.numbers for group in groups for row in group.done)
    if not columns or not 1 < len(groups) <= MOST_CELLS:
        return None
    key = groups[0].parameters[-1][0]
    across = sorted({_value(group, key) for group in groups}, key=in_order)
    down = list(dict.fromkeys(_others(group, key) for group in groups))
    means = [[math.nan] * len(across) for _ in down]
    for group in groups:
        if values := group.values(columns[0]):
            means[down.index(_others(group, key))][across.index(_value(group, key))] = fmean(values)
    made = charts.axes(rows=2 * len(down))
    made.set_xticks(range(len(across)), across, parse_math=False)
    made.set_yticks(range(len(down)), list(map(charts.label, down)), parse_math=False)
    made.set_xlabel(key)
    _draw(made, means, columns[0])
    return Plot(HEAT_MAP, f"Mean {columns[0].heading} by setting", made)


def _draw(made: Axes, means: Sequence[Sequence[float]], column: Column) -> None:
    """Draw a cell for each mean, the better the lighter, with its number."""
    made.imshow(means, cmap="cividis_r" if column.is_less_better else "cividis", aspect="auto")
    made.grid(visible=False)
    known = [value for line in means for value in line if not math.isnan(value)]
    middle = (min(known) + max(known)) / 2
    for row, line in enumerate(means):
        for place, value in enumerate(line):
            if not math.isnan(value):
                is_light = value < middle if column.is_less_better else value > middle
                made.text(
                    place,
                    row,
                    column.text(value),
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color=INK if is_light else "white",
                )


def _value(group: Group, key: str) -> str:
    return dict(group.parameters).get(key, "")


def _others(group: Group, key: str) -> str:
    return ",".join(f"{name}={value}" for name, value in group.parameters if name != key)
