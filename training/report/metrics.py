"""The columns of numbers in all tables of scenes. A new column is one entry in `COLUMNS`.

Report (Markdown, HTML, CSV), the terminal's table, the run page in Prefect's UI and the comparison
of experiments take their columns from here. docs/trainer.md, Evaluation, defines the numbers.
Numbers that another trainer writes are columns by themselves, after those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, get_args

from training.system.numbers import is_number

BEFORE = "before"
"""Key of the evaluation before training in `metrics.json`."""
Numbers = Mapping[str, float]
"""A scene's numbers by key, as `numbers_of` returns them."""
Place = Literal["report", "terminal", "run page", "comparison"]
"""A table that columns are chosen for: a terminal and the run page have room for a few."""
EVERYWHERE: frozenset[Place] = frozenset(get_args(Place))
ONLY_IN_REPORT: frozenset[Place] = frozenset({"report"})
IN_TERMINAL: frozenset[Place] = ONLY_IN_REPORT | {"terminal"}
NOT_IN_RUN_PAGE: frozenset[Place] = EVERYWHERE - {"run page"}
IN_COMPARISON: frozenset[Place] = ONLY_IN_REPORT | {"comparison"}


@dataclass(frozen=True)
class Column:
    """A column of numbers; a table shows it when one of its scenes has that number."""

    key: str
    """The number's name in `metrics.json` and `metrics.csv`; `before_x` is the `x` of `before`."""
    name: str
    unit: str = ""
    digits: int | None = 1
    """Digits after the decimal point, None for four significant ones; `metrics.csv` has all."""
    combine: Literal["mean", "sum"] = "mean"
    """What the last line of a table shows of the scenes' numbers."""
    shown_in: frozenset[Place] = EVERYWHERE
    is_less_better: bool | None = False
    """None where it is not known."""
    leaves: int = 9
    """Which columns a narrow terminal leaves out first: the highest; those with 0 always stay."""
    derive: Callable[[Numbers], float | None] | None = None
    """Computes the number from others, where the trainer does not write it."""

    @property
    def heading(self) -> str:
        """Name and unit: `PSNR dB`."""
        return f"{self.name} {self.unit}".strip()

    def text(self, value: float | None) -> str:
        """Format a number for a table; a missing one is empty."""
        return "" if value is None else format(value, self._format(0))

    def precise(self, value: float | None, sign: str = "") -> str:
        """Format a number with one digit more, so that rounding does not hide a difference."""
        return "" if value is None else format(value, f"{sign}{self._format(1)}")

    def _format(self, more: int) -> str:
        if self.digits is None:
            return f".{SIGNIFICANT + more}g"
        return f".{self.digits and self.digits + more}f"

    def combined(self, scenes: Iterable[Numbers]) -> float | None:
        """Return mean or sum over the scenes that have the number, None where none has it."""
        values = [each[self.key] for each in scenes if self.key in each]
        if not values:
            return None
        return fmean(values) if self.combine == "mean" else sum(values)


def _psnr_gain(numbers: Numbers) -> float | None:
    after, before = numbers.get("psnr"), numbers.get("before_psnr")
    return None if after is None or before is None else after - before


COLUMNS = (
    Column("psnr", "PSNR", "dB", leaves=1),
    Column("psnr_gain", "gain", "dB", derive=_psnr_gain, shown_in=IN_TERMINAL, leaves=4),
    Column("psnr_foreground", "PSNR people", "dB", shown_in=IN_TERMINAL),
    Column("psnr_true_poses", "PSNR true poses", "dB", shown_in=IN_COMPARISON),
    Column("ssim", "SSIM", digits=3, leaves=3),
    Column("ssim_foreground", "SSIM people", digits=3, shown_in=ONLY_IN_REPORT),
    Column("flip", "FLIP", digits=3, is_less_better=True, shown_in=IN_COMPARISON),
    Column("lpips", "LPIPS", digits=3, is_less_better=True, shown_in=IN_COMPARISON),
    Column("mask_iou", "mask IoU", digits=3, shown_in=IN_COMPARISON),
    Column(
        "mpjpe_mm", "MPJPE", "mm", is_less_better=True, shown_in=EVERYWHERE - {"run page"}, leaves=2
    ),
    Column("before_mpjpe_mm", "before", "mm", shown_in=ONLY_IN_REPORT),
    Column("rr_mpjpe_mm", "RR-MPJPE", "mm", is_less_better=True, shown_in=IN_TERMINAL),
    Column("pa_mpjpe_mm", "PA-MPJPE", "mm", is_less_better=True, shown_in=ONLY_IN_REPORT),
    Column("mve_mm", "MVE", "mm", is_less_better=True, shown_in=ONLY_IN_REPORT),
    Column("samples", "samples", digits=0, combine="sum", leaves=1),
    Column("dropped", "dropped", digits=0, combine="sum", is_less_better=True),
)


OF_OWN_TRAINER = re.compile(
    r"(before|smpl)_.*|(psnr|ssim|flip|lpips|mask_iou)_(foreground|true_poses|foreground_true_poses)"
    r"|.*_before|epochs?|seed|iterations|gaussians|seconds|source_camera"
    r"|steps|parameters|train_samples"
)
"""Numbers in `metrics.json` of the project's own trainer that tables have no room for."""
SIGNIFICANT = 4
MOST_OTHERS = 4
"""Columns of numbers unknown here, where a place has room for a few."""


def used_columns(scenes: Iterable[Numbers], place: Place = "report") -> list[Column]:
    """Return the columns of a table that at least one of these scenes has a number for.

    A number that only another trainer writes has a column of its own, named as it is there.
    """
    keys = dict.fromkeys(key for numbers in scenes for key in numbers)
    columns = [each for each in COLUMNS if place in each.shown_in and each.key in keys]
    known = {each.key for each in COLUMNS}
    others = [key for key in keys if key not in known and not OF_OWN_TRAINER.fullmatch(key)]
    most = MOST_OTHERS if place in ("terminal", "run page") else len(others)
    return [*columns, *(_column_of(key) for key in others[:most])]


def _column_of(key: str) -> Column:
    return Column(key, key, digits=None, is_less_better=None)


def combined_numbers(scenes: Sequence[Numbers]) -> dict[str, float]:
    """Return each number that a scene has, combined over those that have it as its column says."""
    columns = {each.key: each for each in COLUMNS}
    keys = dict.fromkeys(key for numbers in scenes for key in numbers)
    found = {key: columns.get(key, _column_of(key)).combined(scenes) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def flattened(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a `metrics.json` with `before: {x: …}` as `before_x`.

    Another trainer may write no `before`, or mean something else by it.
    """
    before = metrics.get(BEFORE)
    named = before.items() if isinstance(before, dict) else ()
    return {**metrics, **{f"before_{key}": value for key, value in named}}


def numbers_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return all finite numbers of a scene's metrics by key, those of derived columns too.

    One inside other keys has a dotted key.
    """
    numbers = {key: value for key, value in _leaves(flattened(metrics)) if is_number(value)}
    derived = {each.key: each.derive(numbers) for each in COLUMNS if each.derive}
    return numbers | {key: value for key, value in derived.items() if value is not None}


def _leaves(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in metrics.items():
        if not isinstance(value, dict):
            yield f"{prefix}{key}", value
        elif key != BEFORE:
            yield from _leaves(value, f"{prefix}{key}.")
