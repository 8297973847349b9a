"""The report of a flow run as one Markdown text with small pictures inside, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flows.run_page.content import clean
from training.plan.model import Plan
from training.report import experiment_report
from training.report.blocks import Block, Document, Heading, Items, Picture, SideBySide, Table, Text
from training.report.experiment_report import title_of
from training.report.markdown import Address, to_markdown
from training.report.plots.thumbnails import data_uri, smaller_and_smaller
from training.report.plots.timeline import spans_of
from training.report.scene_rows import Row
from training.report.write import report_paths

MOST_LINES = 50
MOST_ITEMS = 20
PICTURES_SIZE = 800_000
"""Characters that all pictures together may take."""
SIZES = (960, 720, 480, 320)
QUALITY = 80


def report(plan: Plan, rows: Sequence[Row]) -> str:
    """Return the report of the chosen scenes as Markdown."""
    whole = experiment_report.experiment_report(
        title_of(plan.exp_name, plan.output_subdir),
        rows,
        spans_of(rows, [plan]),
        plots=[],
        notes=_whole_report(plan),
        plans=[plan],
        root=plan.roots.results_root,
    )
    short = shortened(whole)
    pictures = sum(isinstance(block, Picture) for block in short.blocks)
    return clean(to_markdown(short, thumbnails(PICTURES_SIZE // max(1, pictures))))


def _whole_report(plan: Plan) -> list[str]:
    """Return a line that says where the whole report is; none if this run has not written it."""
    page = report_paths(plan.roots, plan.exp_name, plan.output_subdir).file("report.html")
    try:
        is_new = page.stat().st_mtime >= plan.created.timestamp()
    except OSError:
        return []
    return [f"The whole report, with plots: {page}"] if is_new else []


def shortened(whole: Document) -> Document:
    """Return the report with the first lines only of what is long."""
    return replace(whole, blocks=tuple(each for block in whole.blocks for each in _short(block)))


def _short(block: Block) -> Iterator[Block]:
    match block:
        case Table(lines=lines) if len(lines) > MOST_LINES:
            yield replace(block, lines=lines[:MOST_LINES])
            yield _cut_note(MOST_LINES, len(lines))
        case SideBySide() | Heading(text=experiment_report.IN_MOTION):
            return  # animations of all scenes together are megabytes
        case Items(items) if len(items) > MOST_ITEMS:
            yield Items(items[:MOST_ITEMS])
            yield _cut_note(MOST_ITEMS, len(items))
        case _:
            yield block


def _cut_note(shown: int, total: int) -> Text:
    return Text(f"The first {shown} of {total:,}; metrics.csv beside the whole report has all.")


def thumbnails(longest: int) -> Address:
    """Return a function that gives pictures as data URIs of at most `longest` characters each."""

    def address(path: Path) -> str:
        try:
            tries = smaller_and_smaller(path, SIZES, QUALITY)
            uris = (data_uri("image/jpeg", each) for each in tries)
            return next((uri for uri in uris if len(uri) <= longest), "")
        except Exception:  # noqa: BLE001 - no picture is worth a report
            return ""

    return address
