"""Tables of an experiment's scenes: for a terminal, for the report, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from training.report.blocks import Table
from training.report.metrics import Column, Place, flattened, used_columns
from training.report.scene_rows import Row
from training.system.text_table import TextColumn, fit

SCENE_COLUMNS = {"scene": 0, "state": 0, "attempts": 6, "time": 5}
"""What a table says of every scene, before the columns of numbers: `time` is of all attempts.

Each with its `Column.leaves`."""
CSV_COLUMNS = (
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
"""What `metrics.csv` says of every scene, before the metrics."""


def scene_table(rows: Sequence[Row], place: Place = "report") -> Table:
    """Return the table of scenes: a line a scene, then averages by data set and over all."""
    columns = used_columns((row.numbers for row in rows), place)

    def cells(numbers: Callable[[Column], float | None]) -> list[str]:
        return [column.text(numbers(column)) for column in columns]

    def line(row: Row) -> list[str]:
        attempts, time = str(len(row.attempts)), duration(row.total_s) if row.attempts else ""
        numbers = cells(lambda column: row.numbers.get(column.key))
        return [row.scene, row.state_and_cause, attempts, time, *numbers]

    def average(name: str, group: Sequence[Row]) -> list[str]:
        numbers = cells(lambda column: column.combined(row.numbers for row in group))
        return [name, f"{len(group)} done", "", "", *numbers]

    return Table(
        head=[*SCENE_COLUMNS, *(column.heading for column in columns)],
        lines=[line(row) for row in rows],
        foot=[average(name, group) for name, group in _averaged(rows)],
    )


def numbers_table(rows: Sequence[Row]) -> Table:
    """Return the numbers of the done scenes and their averages, as a paper shows them."""
    whole = scene_table([row for row in rows if row.is_done])
    about = slice(1, len(SCENE_COLUMNS))
    head, *lines = ([*cells] for cells in (whole.head, *whole.lines, *whole.foot))
    for cells in (head, *lines):
        del cells[about]
    count = len(whole.lines)
    return Table(head, lines[:count], lines[count:], text_columns=1)


def _averaged(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return the done scenes of each data set, where there are several, and all done scenes.

    Each with the name of its line. Scenes without numbers are left out; a single one needs no mean.
    """
    done = [row for row in rows if row.is_done and used_columns([row.numbers])]
    if len(done) <= 1:
        return []
    columns = used_columns(row.numbers for row in done)
    word = "total" if all(column.combine == "sum" for column in columns) else "average"
    names = sorted({row.dataset for row in done})
    sets = [(f"{word} {name}", [row for row in done if row.dataset == name]) for name in names]
    return [*(sets if len(sets) > 1 else []), (word, done)]


def terminal_lines(rows: Sequence[Row], width: int | None) -> list[str]:
    """Return the table of scenes in lines of at most `width` columns; None for no bound.

    Below it a line that names the columns which are left out.
    """
    columns = used_columns((row.numbers for row in rows), "terminal")
    leaves = SCENE_COLUMNS | {column.heading: column.leaves for column in columns}
    table = scene_table(rows, "terminal")
    lines = aligned(table, width, leaves)
    if any(len(row.attempts) > 1 for row in rows) and "time" in lines[0]:
        lines.append("time: of all attempts")
    return lines


def aligned(
    table: Table, width: int | None = None, leaves: Mapping[str, int] | None = None
) -> list[str]:
    """Return the lines of a table for a terminal of that width, None for no bound.

    Columns that leave first are those with the highest number in `leaves`; without it the last.
    """
    order = [leaves[each] for each in table.head] if leaves else range(len(table.head))
    cells = zip(table.head, *table.lines, *table.foot, strict=True)
    columns = [
        TextColumn(heading, column, leaving, _state_of if heading == "state" else None)
        for leaving, (heading, *column) in zip(order, cells, strict=True)
    ]
    fitted = fit(columns, width)
    return [*fitted.lines, *fitted.note]


def _state_of(cell: str) -> str:
    """Return the state in `failed (timeout)`; of the averages' `4 done` none."""
    return cell.partition(" (")[0]


def duration(seconds: float) -> str:
    """Return a duration in words: `16 s`, `12 min`, `3:05 h`, `2 d 4 h`."""
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
    """Return all metrics of all rows that are numbers or texts; what a scene lacks stays empty."""
    found = [_csv_metrics(row) for row in rows]
    keys = sorted({key for metrics in found for key in metrics})
    lines = [
        [*_csv_cells(row), *(metrics.get(key, "") for key in keys)]
        for row, metrics in zip(rows, found, strict=True)
    ]
    return csv_text([*CSV_COLUMNS, *keys], lines)


def csv_text(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """Return a heading and lines as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return stream.getvalue()


def _csv_cells(row: Row) -> list[object]:
    cause = "ok" if row.is_done else row.cause
    counts = [len(row.attempts), f"{row.total_s:.1f}"]
    where = [row.node, row.job_id]
    return [row.scene, row.dataset, row.state, cause, *counts, *where, row.message, row.log]


def _csv_metrics(row: Row) -> dict[str, Any]:
    """Return plain metrics and derived numbers; one that is named as our columns is `trainer_…`."""
    return {
        f"trainer_{key}" if key in CSV_COLUMNS else key: value
        for key, value in {**flattened(row.metrics), **row.numbers}.items()
        if isinstance(value, int | float | str) and key not in ("scene", "exp_name")
    }
