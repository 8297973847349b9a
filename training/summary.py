"""The experiment's summary: `metrics.csv` and `report.md` from the run records, complete or not."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from training.claims import holder_of
from training.files import write_atomically
from training.plan import LOG
from training.records import RECORD, RecordError, RunRecord, read_record
from training.settings import Roots

SHOWN = {
    "psnr": "PSNR dB",
    "psnr_gain": "gain dB",
    "psnr_foreground": "PSNR people dB",
    "ssim": "SSIM",
    "mpjpe_mm": "MPJPE mm",
    "mpjpe_before_mm": "before mm",
    "samples": "samples",
    "dropped": "dropped",
}
"""Metrics of the table, with their headings; those that no scene has are left out."""


@dataclass(frozen=True)
class Row:
    """One scene of an experiment, from its record."""

    scene: str
    status: str
    cause: str
    attempts: int
    seconds: float
    metrics: dict[str, Any]
    log: Path
    picture: Path | None


@dataclass(frozen=True)
class Summary:
    """What the aggregate wrote."""

    rows: tuple[Row, ...]
    report: Path
    metrics_csv: Path


def summarise(roots: Roots, exp_name: str, chosen: Iterable[str], part: str = "") -> Summary:
    """Write the summary of an experiment: the chosen scenes and all others that have a record.

    `part` as in `Plan.part`. Raises OSError when the files can't be written.
    """
    rows = collect(roots, exp_name, chosen, part)
    folder = roots.experiment_folder(exp_name)
    report, metrics_csv = folder / _file("report.md", part), folder / _file("metrics.csv", part)
    write_atomically(metrics_csv, to_csv(rows))
    write_atomically(report, to_markdown(exp_name, rows, folder))
    return Summary(rows, report, metrics_csv)


def table(roots: Roots, exp_name: str, chosen: Iterable[str], part: str = "") -> str:
    """The same for a terminal, with the path of a picture and of the report."""
    rows = collect(roots, exp_name, chosen, part)
    done = [row for row in rows if row.status == "done"]
    cells = _table_cells(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, each, widths)).rstrip() for each in cells]
    pictures = [f"picture: {row.picture}" for row in done if row.picture][:1]
    report = roots.experiment_folder(exp_name) / _file("report.md", part)
    reports = [f"report: {report}"] if report.exists() else []
    return "\n".join(["", *lines, "", *pictures, *reports])


def collect(roots: Roots, exp_name: str, chosen: Iterable[str], part: str = "") -> tuple[Row, ...]:
    """One row a scene, by name: what its record says, `not started` where there is none."""
    names = sorted({*chosen, *roots.outputs_with(RECORD, exp_name, part)})
    return tuple(_row(name, roots.output_folder(name, exp_name, part)) for name in names)


def to_csv(rows: Sequence[Row]) -> str:
    """All plain metrics of all rows; a metric that a scene lacks is an empty cell."""
    fixed = ["scene", "status", "cause", "attempts", "seconds"]
    plain = [_plain(row.metrics) for row in rows]
    keys = sorted({key for metrics in plain for key in metrics})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(fixed + keys)
    for row, metrics in zip(rows, plain, strict=True):
        values = [row.scene, row.status, row.cause, row.attempts, f"{row.seconds:.1f}"]
        writer.writerow([*values, *(metrics.get(key, "") for key in keys)])
    return stream.getvalue()


def to_markdown(exp_name: str, rows: Sequence[Row], folder: Path) -> str:
    """The report, for a file in `folder`: counts, table, averages, what is missing, pictures."""
    done = [row for row in rows if row.status == "done"]
    lines = [f"# {exp_name}", "", f"{len(done)} of {len(rows)} scenes done.", ""]
    head, *body = _table_cells(rows)
    cells = [head, ["---"] * len(head), *body]
    lines += ["| " + " | ".join(each) + " |" for each in cells]
    missing = [f"- {row.scene}: {_state(row)}, log: {row.log}" for row in rows if row not in done]
    lines += ["", "## Not done", "", *missing] if missing else []
    pictures = [line for row in done if row.picture for line in _picture(row, folder)]
    lines += ["", "## Pictures: target, before, after", "", *pictures] if pictures else []
    return "\n".join(lines) + "\n"


def _file(name: str, part: str) -> str:
    return f"{part}_{name}" if part else name


def _row(name: str, output: Path) -> Row:
    try:
        record = read_record(output)
    except RecordError as error:
        return Row(name, "unknown", str(error), 0, 0.0, {}, output / LOG, None)
    if record is None:
        return Row(name, "not started", "", 0, 0.0, {}, output / LOG, None)
    picture = record.metrics.get("picture")
    return Row(
        scene=name,
        status=_living_status(record, output),
        cause=record.cause or "",
        attempts=len(record.attempts),
        seconds=record.seconds,
        metrics=record.metrics if record.status == "done" else {},
        log=output / LOG,
        picture=output / picture if isinstance(picture, str) else None,
    )


def _living_status(record: RunRecord, output: Path) -> str:
    """A record that says running without a living holder is of a start that was killed."""
    if record.status == "running" and holder_of(output) is None:
        return "failed"
    return record.status


def _plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """Numbers and texts, those of `before` under `before_…`; lists and mappings are left out."""
    before = metrics.get("before")
    renamed = {f"before_{key}": value for key, value in before.items()} if before else {}
    return {
        key: value
        for key, value in {**metrics, **renamed}.items()
        if isinstance(value, int | float | str)
    }


def _shown_metrics(row: Row) -> dict[str, float]:
    before = row.metrics.get("before") or {}
    values = {**row.metrics, "mpjpe_before_mm": before.get("mpjpe_mm")}
    if "psnr" in before and isinstance(row.metrics.get("psnr"), float):
        values["psnr_gain"] = row.metrics["psnr"] - before["psnr"]
    return {key: values[key] for key in SHOWN if isinstance(values.get(key), int | float)}


def _table_cells(rows: Sequence[Row]) -> list[list[str]]:
    """Headings, a line a scene, averages; without columns of metrics that are empty."""
    done = [row for row in rows if row.status == "done"]
    lines = [*map(_cells, rows), *_averages(done)]
    columns = list(zip(_headings(), *lines, strict=True))
    always = len(_headings()) - len(SHOWN)
    used = [each for place, each in enumerate(columns) if place < always or any(each[1:])]
    return [list(line) for line in zip(*used, strict=True)]


def _headings() -> list[str]:
    return ["scene", "state", "starts", "time", *SHOWN.values()]


def _cells(row: Row) -> list[str]:
    metrics = _shown_metrics(row)
    return [
        row.scene,
        _state(row),
        str(row.attempts),
        f"{row.seconds:.0f} s",
        *(_number(metrics.get(key)) for key in SHOWN),
    ]


def _averages(done: Sequence[Row]) -> list[list[str]]:
    if len(done) <= 1:
        return []
    metrics = [_shown_metrics(row) for row in done]
    columns = [[each[key] for each in metrics if key in each] for key in SHOWN]
    means = [_number(fmean(column)) if column else "" for column in columns]
    return [["average", f"{len(done)} done", "", "", *means]]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"


def _state(row: Row) -> str:
    return f"{row.status} ({row.cause})" if row.cause not in ("", "ok") else row.status


def _picture(row: Row, folder: Path) -> list[str]:
    link = os.path.relpath(row.picture or "", folder)
    return [f"### {row.scene}", "", f"![{row.scene}]({link})", ""]
