"""Tables of an experiment's scenes: for a terminal, for the report, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from training.report.metrics import Average, averages, shown, used_metrics
from training.report.scene_rows import Row, before

FIXED = (
    "scene",
    "dataset",
    "status",
    "cause",
    "attempts",
    "seconds",
    "host",
    "slurm_job_id",
    "message",
    "log",
)
"""Columns of `metrics.csv` that every scene has."""


def headings(rows: Sequence[Row]) -> list[str]:
    """Of the columns that are not empty."""
    return ["scene", "state", "starts", "time", *(each.heading for each in used_metrics(rows))]


def scene_cells(rows: Sequence[Row]) -> list[list[str]]:
    """A line a scene."""
    metrics = used_metrics(rows)
    return [
        [
            row.scene,
            row.state,
            str(row.attempts),
            duration(row.seconds) if row.attempts else "",
            *(metric.text(shown(row).get(metric.key)) for metric in metrics),
        ]
        for row in rows
    ]


def average_cells(rows: Sequence[Row]) -> list[list[str]]:
    """A line for each data set where there are several, and one for all."""
    metrics = used_metrics(rows)

    def line(each: Average) -> list[str]:
        numbers = (metric.text(each.values.get(metric.key)) for metric in metrics)
        return [each.name, f"{each.scenes} done", "", "", *numbers]

    return [line(each) for each in averages(rows)]


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a terminal, their cells one below the other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, each, widths)).rstrip() for each in lines]


def duration(seconds: float) -> str:
    """`16 s`, `12 min`, `3:05 h`, `2 d 4 h`."""
    if seconds < 100:  # noqa: PLR2004 - two digits are enough
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:  # noqa: PLR2004
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60}:{minutes % 60:02d} h"
    whole = timedelta(minutes=minutes)
    return f"{whole.days} d {whole.seconds // 3600} h"


def to_csv(rows: Sequence[Row]) -> str:
    """All plain metrics of all rows; a metric that a scene lacks is an empty cell."""
    plain = [_plain(row.metrics) for row in rows]
    keys = sorted({key for metrics in plain for key in metrics})
    fixed = [_fixed(row) for row in rows]
    return csv_text(
        [*FIXED, *keys],
        [
            [*values, *(metrics.get(key, "") for key in keys)]
            for values, metrics in zip(fixed, plain, strict=True)
        ],
    )


def csv_text(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A heading and lines as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return stream.getvalue()


def _fixed(row: Row) -> list[object]:
    last = row.last
    where = [last.host, last.slurm_job_id] if last else ["", ""]
    counts = [row.attempts, f"{row.seconds:.1f}"]
    return [row.scene, row.dataset, row.status, row.cause, *counts, *where, row.message, row.log]


def _plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """Numbers and texts, those of `before` under `before_…`; lists and mappings are left out."""
    everything = {**metrics, **{f"before_{key}": value for key, value in before(metrics).items()}}
    return {
        f"trainer_{key}" if key in FIXED else key: value
        for key, value in everything.items()
        if isinstance(value, int | float | str) and key not in ("scene", "exp_name")
    }
