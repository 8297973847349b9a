"""Summarise an experiment from its run records, complete or not: as report, or as table."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.report.scene_rows import Row, collect
from training.report.tables import aligned, scene_table
from training.report.write import report_paths, write_report
from training.system.console import say
from training.system.paths import Roots


@dataclass(frozen=True)
class Summary:
    """The rows of an experiment and the files of its report."""

    rows: tuple[Row, ...]
    report: Path
    metrics_csv: Path
    page: Path
    plots: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the report."""
        return self.page, self.report, self.metrics_csv, *self.plots


def summarise(
    roots: Roots, exp_name: str, chosen: Iterable[str], output_subdir: str = ""
) -> Summary:
    """Write the report of an experiment: the chosen scenes and all others that have a record.

    `output_subdir` is that of the plan. Prints a line for a plot that can't be drawn. Raises
    OSError when the files can't be written.
    """
    rows = collect(roots, exp_name, chosen, output_subdir)
    written = write_report(roots, exp_name, rows, output_subdir)
    for note in written.notes:
        say(f"report: {note}", sys.stderr)
    return Summary(rows, written.report, written.metrics_csv, written.page, written.plots)


def table(roots: Roots, exp_name: str, chosen: Iterable[str], output_subdir: str = "") -> str:
    """Return the table of scenes for a terminal, with the paths of a picture and the report."""
    rows = collect(roots, exp_name, chosen, output_subdir)
    place = report_paths(roots, exp_name, output_subdir)
    page, report = place.file("report.html"), place.file("report.md")
    lines = aligned(scene_table(rows, "terminal"))
    pages = [f"page: {page}"] if page.exists() else []
    pictures = [f"picture: {row.picture}" for row in rows if row.is_done and row.picture][:1]
    reports = [f"report: {report}"] if report.exists() else []
    return "\n".join(["", *lines, "", *pages, *pictures, *reports])
