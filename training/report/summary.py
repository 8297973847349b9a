"""The experiment's summary from the run records, complete or not: the report, and a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.report.scene_rows import Row, collect
from training.report.tables import aligned, average_cells, headings, scene_cells
from training.report.write import report_paths, write_report
from training.system.console import say
from training.system.paths import Roots

__all__ = ["Row", "Summary", "collect", "summarise", "table"]


@dataclass(frozen=True)
class Summary:
    """What the aggregate wrote."""

    rows: tuple[Row, ...]
    report: Path
    metrics_csv: Path
    page: Path
    plots: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All of it."""
        return self.page, self.report, self.metrics_csv, *self.plots


def summarise(
    roots: Roots, exp_name: str, chosen: Iterable[str], output_subdir: str = ""
) -> Summary:
    """Write the report of an experiment: the chosen scenes and all others that have a record.

    `output_subdir` as in `Plan.output_subdir`. Raises OSError when the files can't be written; a plot that can't be
    drawn is told.
    """
    rows = collect(roots, exp_name, chosen, output_subdir)
    written = write_report(roots, exp_name, rows, output_subdir)
    for note in written.notes:
        say(f"report: {note}", sys.stderr)
    return Summary(rows, written.report, written.metrics_csv, written.page, written.plots)


def table(roots: Roots, exp_name: str, chosen: Iterable[str], output_subdir: str = "") -> str:
    """The same for a terminal, with the path of a picture and of the report."""
    rows = collect(roots, exp_name, chosen, output_subdir)
    place = report_paths(roots, exp_name, output_subdir)
    page, report = place.file("report.html"), place.file("report.md")
    lines = aligned([headings(rows), *scene_cells(rows), *average_cells(rows)])
    pages = [f"page: {page}"] if page.exists() else []
    pictures = [f"picture: {row.picture}" for row in rows if row.is_done and row.picture][:1]
    reports = [f"report: {report}"] if report.exists() else []
    return "\n".join(["", *lines, "", *pages, *pictures, *reports])
