"""The metrics that a table shows, and what they come to by data set and over all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from training.report.scene_rows import Row, before, is_number


@dataclass(frozen=True)
class Metric:
    """A column of numbers."""

    key: str
    heading: str
    decimals: int = 1
    is_count: bool = False
    """Counts are added up, everything else is averaged."""

    def text(self, value: float | None) -> str:
        """As a table shows it; nothing for a number that is missing."""
        return "" if value is None else f"{value:.{self.decimals}f}"


METRICS = (
    Metric("psnr", "PSNR dB"),
    Metric("psnr_gain", "gain dB"),
    Metric("psnr_foreground", "PSNR people dB"),
    Metric("ssim", "SSIM", 3),
    Metric("mpjpe_mm", "MPJPE mm"),
    Metric("mpjpe_before_mm", "before mm"),
    Metric("samples", "samples", 0, is_count=True),
    Metric("dropped", "dropped", 0, is_count=True),
)


@dataclass(frozen=True)
class Average:
    """Means, or sums of counts, over done scenes."""

    name: str
    scenes: int
    values: dict[str, float]


def shown(row: Row) -> dict[str, float]:
    """A scene's numbers, by the metrics' keys."""
    first: dict[str, Any] = before(row.metrics)
    values = {**row.metrics, "mpjpe_before_mm": first.get("mpjpe_mm")}
    if is_number(values.get("psnr")) and is_number(first.get("psnr")):
        values["psnr_gain"] = values["psnr"] - first["psnr"]
    return {each.key: values[each.key] for each in METRICS if is_number(values.get(each.key))}


def used_metrics(rows: Iterable[Row]) -> list[Metric]:
    """The metrics that at least one scene has."""
    keys = {key for row in rows for key in shown(row)}
    return [metric for metric in METRICS if metric.key in keys]


def averages(rows: Sequence[Row]) -> list[Average]:
    """Of each data set where there are several, then of all; none where there is no number."""
    done = [row for row in rows if row.is_done and shown(row)]
    metrics = used_metrics(done)
    if len(done) <= 1:
        return []
    word = "total" if all(metric.is_count for metric in metrics) else "average"
    names = sorted({row.dataset for row in done})
    sets = [
        _average(f"{word} {name}", [row for row in done if row.dataset == name], metrics)
        for name in names
    ]
    return [*(sets if len(sets) > 1 else []), _average(word, done, metrics)]


def _average(name: str, rows: Sequence[Row], metrics: Sequence[Metric]) -> Average:
    numbers = [shown(row) for row in rows]
    columns = {
        metric: [each[metric.key] for each in numbers if metric.key in each] for metric in metrics
    }
    values = {
        metric.key: sum(column) if metric.is_count else fmean(column)
        for metric, column in columns.items()
        if column
    }
    return Average(name, len(rows), values)
