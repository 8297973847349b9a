"""Compare two experiments scene by scene: what each scene gained or lost from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from training.report.blocks import (
    Block,
    Document,
    Fact,
    Facts,
    Heading,
    Item,
    Items,
    Picture,
    Table,
    Text,
)
from training.report.metrics import Column, Numbers, used_columns
from training.report.plots import charts
from training.report.plots.charts import BLUE, INK, RED, Plot
from training.report.scene_rows import Row
from training.report.tables import aligned, csv_text
from training.report.write import report_paths, write_document, write_plots
from training.system.atomic_write import write_atomically
from training.system.paths import Roots

BINS = 40


@dataclass(frozen=True)
class Pair:
    """A scene of both experiments, with its numbers in each."""

    scene: str
    ours: Numbers
    theirs: Numbers

    @cached_property
    def differences(self) -> Numbers:
        """Ours minus theirs, by key, of the numbers that both have."""
        return {key: self.ours[key] - self.theirs[key] for key in self.ours if key in self.theirs}


@dataclass(frozen=True)
class Comparison:
    """The scenes of `ours` beside those of `theirs`."""

    ours: str
    theirs: str
    pairs: tuple[Pair, ...]
    """The scenes with a number to compare."""
    only_ours: tuple[str, ...]
    only_theirs: tuple[str, ...]
    without_numbers: tuple[tuple[str, str], ...]
    """Scenes of both that one of them has no numbers of, with their states in both."""

    @property
    def columns(self) -> list[Column]:
        """The columns that some scene has in both experiments."""
        return used_columns((pair.differences for pair in self.pairs), "comparison")

    def with_number(self, key: str) -> list[Pair]:
        """Return the scenes that have that number in both experiments."""
        return [pair for pair in self.pairs if key in pair.differences]


@dataclass(frozen=True)
class WrittenComparison:
    """A comparison, and the files that it was written to."""

    comparison: Comparison
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    """What went wrong with its pictures."""

    @property
    def text(self) -> str:
        """The comparison for a terminal."""
        left_out = [f"{item.name}: {item.text}" for item in _left_out(self.comparison)]
        few = [column for column in self.comparison.columns if "terminal" in column.shown_in]
        return "\n".join(["", *aligned(_table(self.comparison, few)), "", *left_out])


def compare(
    ours: str, our_rows: Sequence[Row], theirs: str, their_rows: Sequence[Row]
) -> Comparison:
    """Set the rows of two experiments side by side, by the scenes' names."""
    mine = {row.scene: row for row in our_rows}
    others = {row.scene: row for row in their_rows}
    both = [name for name in mine if name in others]
    pairs = [Pair(name, mine[name].numbers, others[name].numbers) for name in both]
    with_numbers = [pair for pair in pairs if used_columns([pair.differences], "comparison")]
    compared = {pair.scene for pair in with_numbers}

    def states(name: str) -> str:
        mine_is, theirs_is = mine[name].state_and_cause, others[name].state_and_cause
        return f"{mine_is} in {ours}, {theirs_is} in {theirs}"

    return Comparison(
        ours=ours,
        theirs=theirs,
        pairs=tuple(with_numbers),
        only_ours=tuple(name for name in mine if name not in others),
        only_theirs=tuple(name for name in others if name not in mine),
        without_numbers=tuple((name, states(name)) for name in both if name not in compared),
    )


def write_comparison(
    roots: Roots, comparison: Comparison, output_subdir: str = ""
) -> WrittenComparison:
    """Write a comparison into the folder of `ours`; raises OSError."""
    place = report_paths(roots, comparison.ours, output_subdir)
    name, notes = f"compare_{comparison.theirs}", list[str]()
    csv_file = place.file(f"{name}.csv")
    write_atomically(csv_file, _csv(comparison))
    plots = write_plots(place, {f"{name}_psnr": lambda: psnr_differences(comparison)}, notes)
    documents = write_document(place, name, _document(comparison, plots, notes), notes)
    files = (*documents, csv_file, *(picture.path for picture in plots))
    return WrittenComparison(comparison, files, tuple(notes))


def psnr_differences(comparison: Comparison) -> Plot | None:
    """Plot by how much each scene's PSNR differs, best first; None where none can be compared."""
    pairs = comparison.with_number("psnr")
    if not pairs:
        return None
    known = sorted([(pair.differences["psnr"], pair.scene) for pair in pairs], reverse=True)
    values, mean = [value for value, _ in known], fmean(value for value, _ in known)
    if len(known) > charts.MOST_NAMED:
        made, note = charts.axes(), charts.unnamed(len(known), "how many differ by how much.")
        made.hist(values, BINS, color=BLUE)
        made.set_ylabel("scenes")
    else:
        made, note = charts.axes(rows=len(known)), ""
        made.barh(range(len(known)), values, 0.7, color=[BLUE if v >= 0 else RED for v in values])
        charts.name_rows(made, [scene for _, scene in known])
    made.axvline(0, color=INK, linewidth=1)
    made.axvline(mean, label=f"mean {mean:+.2f} dB", **charts.DASHED)
    made.set_xlabel("PSNR difference, dB")
    charts.legend(made)
    title = f"PSNR: {comparison.ours} minus {comparison.theirs}"
    return Plot("psnr", title, made, note)


def _document(comparison: Comparison, plots: Sequence[Picture], notes: Sequence[str]) -> Document:
    left_out = tuple(_left_out(comparison))
    left_out_below: list[Block] = [Heading("Not compared"), Items(left_out)] if left_out else []
    plots_below: list[Block] = [Heading("Plot"), *plots] if plots else []
    blocks: list[Block] = [
        Text(
            f"Differences are {comparison.ours} minus {comparison.theirs}, averages over the"
            f" {len(comparison.pairs)} scenes that both have numbers of."
        ),
        Facts(tuple(_facts(comparison))),
        *map(Text, notes),
        *left_out_below,
        *plots_below,
        Heading("Scenes"),
        _table(comparison, comparison.columns),
    ]
    return Document(f"{comparison.ours} compared with {comparison.theirs}", tuple(blocks))


def _facts(comparison: Comparison) -> list[Fact]:
    facts = []
    for column in comparison.columns:
        pairs = comparison.with_number(column.key)
        differences = [pair.differences[column.key] for pair in pairs]
        sign = -1 if column.is_less_better else 1
        better = sum(sign * each > 0 for each in differences)
        note = f"better in {better} of {len(differences)} scenes"
        facts.append(Fact(column.heading, _signed(column, fmean(differences)), note))
    return facts


def _left_out(comparison: Comparison) -> list[Item]:
    items = [Item(name, states) for name, states in comparison.without_numbers]
    items += [Item(name, f"only in {comparison.ours}") for name in comparison.only_ours]
    return items + [Item(name, f"only in {comparison.theirs}") for name in comparison.only_theirs]


def _table(comparison: Comparison, columns: Sequence[Column]) -> Table:
    """Return a line a scene, theirs, ours and the difference of each number, and the averages."""
    head = ["scene"]
    for column in columns:
        names = (comparison.theirs, comparison.ours)
        head += [*(f"{column.heading} {name}" for name in names), "difference"]
    lines = [_line(pair, columns) for pair in comparison.pairs]
    return Table(head, lines, [_averages(comparison, columns)] if columns else [], text_columns=1)


def _line(pair: Pair, columns: Sequence[Column]) -> list[str]:
    cells = [pair.scene]
    for column in columns:
        cells += [column.text(side.get(column.key)) for side in (pair.theirs, pair.ours)]
        cells.append(_signed(column, pair.differences.get(column.key)))
    return cells


def _averages(comparison: Comparison, columns: Sequence[Column]) -> list[str]:
    cells = ["average"]
    for column in columns:
        pairs = comparison.with_number(column.key)
        theirs = fmean(pair.theirs[column.key] for pair in pairs)
        ours = fmean(pair.ours[column.key] for pair in pairs)
        cells += [column.text(theirs), column.text(ours), _signed(column, ours - theirs)]
    return cells


def _signed(column: Column, value: float | None) -> str:
    return "" if value is None else f"{value:+.{column.digits}f}"


def _csv(comparison: Comparison) -> str:
    """Return the numbers with all their digits, a line a scene."""
    keys = [column.key for column in comparison.columns]
    ours, theirs = comparison.ours, comparison.theirs
    head = ["scene"]
    for key in keys:
        head += [f"{key}_{theirs}", f"{key}_{ours}", f"{key}_difference"]
    lines = [
        [
            pair.scene,
            *(
                numbers.get(key, "")
                for key in keys
                for numbers in (pair.theirs, pair.ours, pair.differences)
            ),
        ]
        for pair in comparison.pairs
    ]
    return csv_text(head, lines)
