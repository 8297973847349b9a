"""Write the files of an experiment's report: CSV, plots, Markdown and HTML."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.plan.aggregate_state import recorded_aggregate
from training.report.blocks import Document, Picture, Table
from training.report.experiment_report import experiment_report, title_of
from training.report.html import to_html
from training.report.known import plans_of, unreadable_plans
from training.report.latex import to_latex
from training.report.loop_section import loop_section
from training.report.markdown import linked_from, to_markdown
from training.report.plots import FEWEST_FOR_PLOTS
from training.report.plots.bars import (
    DURATION,
    PSNR,
    SAMPLES,
    duration_by_scene,
    psnr_by_scene,
    samples_by_scene,
)
from training.report.plots.charts import Plot
from training.report.plots.gantt import GANTT, gantt
from training.report.plots.heat_map import HEAT_MAP, heat_map
from training.report.plots.timeline import Span, spans_of
from training.report.scene_rows import Row
from training.report.sweep_section import sweep_section
from training.report.tables import numbers_table, to_csv
from training.system.atomic_write import write_atomically
from training.system.paths import Roots

Format = Literal["latex", "pdf", "svg"]
"""In which reports are written besides Markdown, HTML, CSV and PNG."""
PLOT_FORMATS = ("png", "pdf", "svg")
Draw = Callable[[], Plot | None]


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report."""

    report: Path
    page: Path
    metrics_csv: Path
    plots: tuple[Path, ...]
    notes: tuple[str, ...]
    """What went wrong with its pictures."""
    more: tuple[Path, ...] = ()
    """Files in other formats that were asked for."""


@dataclass(frozen=True)
class ReportPaths:
    """The folder of a report, and what the names of its files begin with."""

    folder: Path
    prefix: str = ""

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / f"{self.prefix}{name}"


def report_paths(roots: Roots, exp_name: str, output_subdir: str) -> ReportPaths:
    """Return the paths of a report: `output_subdir`, if there is one, stands before each name."""
    return ReportPaths(
        roots.experiment_folder(exp_name), f"{output_subdir}_" if output_subdir else ""
    )


def write_report(
    roots: Roots,
    exp_name: str,
    rows: Sequence[Row],
    output_subdir: str = "",
    formats: Sequence[Format] = (),
) -> WrittenReport:
    """Write the report of these scenes; the report itself names plots that can't be drawn.

    `formats`: those that tables and plots are written in besides. Raises OSError when its files
    can't be written.
    """
    place = report_paths(roots, exp_name, output_subdir)
    notes = list(unreadable_plans(roots, exp_name))
    write_atomically(place.file("metrics.csv"), _encodable(to_csv(rows)))
    plans = plans_of(roots, exp_name, output_subdir)
    spans = spans_of(rows, plans)
    plots = write_plots(place, _drawings(rows, spans), notes, formats)
    whole = experiment_report(
        title_of(exp_name, output_subdir),
        rows,
        spans,
        plots,
        notes,
        plans=plans,
        root=roots.results_root,
        aggregate=recorded_aggregate(plans),
        comparison=sweep_section(rows) or loop_section(plans, rows, roots, output_subdir),
    )
    page, report = write_document(place, "report", whole, notes)
    tables = write_latex(place, "table", numbers_table(rows), formats)
    return WrittenReport(
        report=report,
        page=page,
        metrics_csv=place.file("metrics.csv"),
        plots=tuple(picture.path for picture in plots),
        notes=tuple(notes),
        more=(*tables, *in_other_formats(plots, formats)),
    )


def write_latex(
    place: ReportPaths, name: str, table: Table, formats: Sequence[Format]
) -> list[Path]:
    """Write a table as LaTeX, if that is asked for; return the file's path; raises OSError."""
    if "latex" not in formats:
        return []
    path = place.file(f"{name}.tex")
    write_atomically(path, _encodable(to_latex(table)))
    return [path]


def in_other_formats(plots: Sequence[Picture], formats: Sequence[Format]) -> list[Path]:
    """Return the files of plots that were written in other formats than PNG."""
    return [plot.path.with_suffix(f".{each}") for plot in plots for each in vector(formats)]


def vector(formats: Sequence[Format]) -> list[Format]:
    """Return those of the formats that plots are written in."""
    return [each for each in formats if each in PLOT_FORMATS]


def write_plots(
    place: ReportPaths, drawings: dict[str, Draw], notes: list[str], formats: Sequence[Format] = ()
) -> list[Picture]:
    """Draw and write plots by name; of one that fails, add a note and delete the older file.

    `formats`: those that each plot is written in besides PNG.
    """
    pictures: list[Picture] = []
    faults: dict[str, list[str]] = {}
    for name, draw in drawings.items():
        plot, files = _drawn(name, draw, ("png", *vector(formats)), faults)
        for file_format, content in files.items():
            write_atomically(place.file(f"{name}.{file_format}"), content)
        if plot is None:
            for file_format in PLOT_FORMATS:
                place.file(f"{name}.{file_format}").unlink(missing_ok=True)
        else:
            picture = place.file(f"{name}.png")
            pictures.append(Picture(picture, plot.title, plot.note, is_plot=True))
    notes += [f"not drawn: {', '.join(names)} ({fault})" for fault, names in faults.items()]
    return pictures


def write_document(
    place: ReportPaths, name: str, whole: Document, notes: list[str]
) -> tuple[Path, Path]:
    """Write a document as HTML page and as Markdown; return both paths."""
    page, report = place.file(f"{name}.html"), place.file(f"{name}.md")
    write_atomically(report, _encodable(to_markdown(whole, linked_from(place.folder))))
    faults: list[str] = []
    write_atomically(page, to_html(whole, faults.append))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    notes += [f"{fault}{more}" for fault in faults[:1]]
    return page, report


def _drawings(rows: Sequence[Row], spans: Sequence[Span]) -> dict[str, Draw]:
    if len(rows) < FEWEST_FOR_PLOTS:
        return dict.fromkeys((PSNR, SAMPLES, DURATION, GANTT, HEAT_MAP), lambda: None)
    return {
        PSNR: lambda: psnr_by_scene(rows),
        SAMPLES: lambda: samples_by_scene(rows),
        DURATION: lambda: duration_by_scene(spans),
        GANTT: lambda: gantt(spans),
        HEAT_MAP: lambda: heat_map(rows),
    }


def _drawn(
    name: str, draw: Draw, formats: Sequence[str], faults: dict[str, list[str]]
) -> tuple[Plot | None, dict[str, bytes]]:
    """Draw a plot; return it and its files' contents by format, None and none without one.

    Of one that fails, add its name to `faults`, under what went wrong.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about characters that the font lacks
            plot = draw()
            return plot, {each: plot.saved(each) for each in formats} if plot else {}
    except Exception as error:  # noqa: BLE001 - no picture is worth a summary
        faults.setdefault(f"{type(error).__name__}: {error}", []).append(name)
        return None, {}


def _encodable(text: str) -> str:
    """Replace lone surrogates: Python has them in names of folders that are no UTF-8."""
    return text.encode("utf-8", errors="replace").decode()
