"""Summarise an experiment from its run records, complete or not: as report, or as table."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.faults import MOST_NAMES, counted
from training.plan.model import Plan
from training.plan.scene_decision import is_done
from training.report.failures import failure_lines
from training.report.scene_rows import Row, collect, row_of
from training.report.sweep_section import sweep_lines
from training.report.tables import terminal_lines
from training.report.write import Format, report_paths, write_report
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
    more: tuple[Path, ...] = ()
    """Files in other formats that were asked for."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the report."""
        return self.page, self.report, self.metrics_csv, *self.plots, *self.more


def summarise(
    roots: Roots,
    exp_name: str,
    chosen: Iterable[str],
    output_subdir: str = "",
    formats: Sequence[Format] = (),
) -> Summary:
    """Write the report of an experiment: the chosen scenes and all others that have a record.

    `output_subdir` is that of the plan, `formats` are those of tables and plots besides. Prints a
    line for a plot that can't be drawn. Raises OSError when the files can't be written.
    """
    rows = collect(roots, exp_name, chosen, output_subdir)
    written = write_report(roots, exp_name, rows, output_subdir, formats)
    for note in written.notes:
        say(f"report: {note}", sys.stderr)
    files = written.report, written.metrics_csv, written.page, written.plots, written.more
    return Summary(rows, *files)


def standing(plan: Plan, fault: str = "") -> tuple[bool, str]:
    """Return whether every chosen scene of a plan is done by its record, and how they stand.

    `fault` is what else went wrong; with it the plan is not done, too.
    """
    rows = [row_of(each.name, each.output) for each in plan.scenes if not is_done(each)]
    missing = [f"{row.scene} ({row.cause or row.state})" for row in rows]
    total = len(plan.scenes)
    count = f"{total - len(missing)} of {counted(total, 'scene')} done"
    idle = "" if plan.of("run") else "nothing to do: "
    named = ", ".join(missing[:MOST_NAMES] + ["…"] * (len(missing) > MOST_NAMES))
    faults = [f"not done: {named}"] * bool(missing) + [fault] * bool(fault)
    return not faults, "; ".join([count, *faults]) if faults else idle + count


def table(
    roots: Roots,
    exp_name: str,
    chosen: Iterable[str],
    output_subdir: str = "",
    rows: Sequence[Row] | None = None,
    *,
    width: int | None = None,
) -> str:
    """Return the table of scenes for a terminal, failures by cause, and paths of the report.

    Of a sweep the table of its settings, and the best of them. `rows`: if they were just read.
    `width`: the terminal's columns; None for no bound.
    """
    rows = rows or collect(roots, exp_name, chosen, output_subdir)
    place = report_paths(roots, exp_name, output_subdir)
    page, report = place.file("report.html"), place.file("report.md")
    lines = sweep_lines(rows, width) or terminal_lines(rows, width)
    failed = failure_lines(rows)
    failed += [""] * bool(failed)
    pages = [f"page: {page}"] if _is_file(page) else []
    pictures = [f"picture: {row.picture}" for row in rows if row.is_done and row.picture][:1]
    reports = [f"report: {report}"] if _is_file(report) else []
    return "\n".join(["", *lines, "", *failed, *pages, *pictures, *reports])


def _is_file(path: Path) -> bool:
    """Return whether there is such a file; False below a folder that can't be entered."""
    return os.path.isfile(path)  # noqa: PTH113 - Path's own raises there
