"""Two experiments side by side: what each scene gained or lost from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from training.report.metrics import METRICS, Metric, shown
from training.report.plots import charts
from training.report.plots.charts import BLUE, INK, RED, Plot
from training.report.scene_rows import Row
from training.report.tables import aligned, csv_text
from training.report.write import report_paths, write_document, write_plots
from training.system.atomic_write import write_atomically
from training.system.paths import Roots

COMPARED = ("psnr", "ssim", "mpjpe_mm", "samples", "dropped")
LESS_IS_BETTER = {"mpjpe_mm", "dropped"}
BINS = 40


@dataclass(frozen=True)
class Pair:
    """A scene that both have numbers of."""

    scene: str
    ours: dict[str, float]
    theirs: dict[str, float]

    def difference(self, key: str) -> float | None:
        """Ours minus theirs, where both have that number."""
        if key in self.ours and key in self.theirs:
            return self.ours[key] - self.theirs[key]
        return None


@dataclass(frozen=True)
class Comparison:
    """`ours` beside `theirs`."""

    ours: str
    theirs: str
    pairs: tuple[Pair, ...]
    only_ours: tuple[str, ...]
    only_theirs: tuple[str, ...]
    without_numbers: tuple[tuple[str, str], ...]
    """Scenes of both that one of them has no numbers of, with the states in both."""

    @property
    def metrics(self) -> list[Metric]:
        """Those that some scene has in both."""
        return [
            metric for metric in METRICS if metric.key in COMPARED and self.differences(metric.key)
        ]

    def differences(self, key: str) -> list[float]:
        """Of all scenes that both have that number of."""
        found = (pair.difference(key) for pair in self.pairs)
        return [each for each in found if each is not None]


@dataclass(frozen=True)
class Compared:
    """What was written of a comparison."""

    comparison: Comparison
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def table(self) -> str:
        """For a terminal."""
        head, lines, foot = _cells(self.comparison)
        left_out = [f"{item.name}: {item.text}" for item in _left_out(self.comparison)]
        return "\n".join(["", *aligned([head, *lines, *foot]), "", *left_out])


def compare(
    ours: str, our_rows: Sequence[Row], theirs: str, their_rows: Sequence[Row]
) -> Comparison:
    """Set the rows of two experiments side by side, by the scenes' names."""
    mine = {row.scene: row for row in our_rows}
    others = {row.scene: row for row in their_rows}
    both = [name for name in mine if name in others]
    pairs = [Pair(name, shown(mine[name]), shown(others[name])) for name in both]
    whole = [pair for pair in pairs if any(pair.difference(key) is not None for key in COMPARED)]
    left = {pair.scene for pair in pairs} - {pair.scene for pair in whole}
    return Comparison(
        ours=ours,
        theirs=theirs,
        pairs=tuple(whole),
        only_ours=tuple(name for name in mine if name not in others),
        only_theirs=tuple(name for name in others if name not in mine),
        without_numbers=tuple(
            (name, f"{mine[name].state} in {ours}, {others[name].state} in {theirs}")
            for name in both
            if name in left
        ),
    )


def write_comparison(roots: Roots, comparison: Comparison, output_subdir: str = "") -> Compared:
    """Write a comparison into the first experiment's folder; raises OSError."""
    place, name = (
        report_paths(roots, comparison.ours, output_subdir),
        f"compare_{comparison.theirs}",
    )
    csv_file, notes = place.file(f"{name}.csv"), list[str]()
    write_atomically(csv_file, _csv(comparison))
    plots = write_plots(place, {f"{name}_psnr": lambda: psnr_differences(comparison)}, notes)
    files = write_document(place, name, _document(comparison, plots, notes), notes)
    return Compared(
        comparison, (*files, csv_file, *(picture.path for picture in plots)), tuple(notes)
    )


def psnr_differences(comparison: Comparison) -> Plot | None:
    """By how much each scene's PSNR differs; None where there is none to compare."""
    found = [(pair.difference("psnr"), pair.scene) for pair in comparison.pairs]
    known = sorted([(value, scene) for value, scene in found if value is not None], reverse=True)
    if not known:
        return None
    values, many = [value for value, _ in known], len(known) > charts.MOST_NAMED
    made = charts.axes() if many else charts.axes(rows=len(known))
    if many:
        made.hist(values, BINS, color=BLUE)
        made.set_ylabel("scenes")
    else:
        colours = [BLUE if value >= 0 else RED for value in values]
        made.barh(range(len(known)), values, 0.7, color=colours)
        charts.name_rows(made, [scene for _, scene in known])
    made.axvline(0, color=INK, linewidth=1)
    made.axvline(
        fmean(values),
        color=INK,
        linewidth=1,
        linestyle=(0, (4, 3)),
        label=f"mean {fmean(values):+.2f} dB",
    )
    made.set_xlabel("PSNR difference, dB")
    charts.legend(made)
    note = charts.unnamed(len(known), "how many differ by how much.") if many else ""
    title = f"PSNR: {comparison.ours} minus {comparison.theirs}"
    return Plot("psnr", title, charts.png(made), note)


def _document(comparison: Comparison, plots: Sequence[Picture], notes: Sequence[str]) -> Document:
    head, lines, foot = _cells(comparison)
    blocks: list[Block] = [
        Text(
            f"Differences are {comparison.ours} minus {comparison.theirs}, averages over the"
            f" {len(comparison.pairs)} scenes that both have numbers of."
        ),
        Facts(tuple(_facts(comparison))),
        *map(Text, notes),
        *_left_out_blocks(comparison),
        *([Heading("Plot")] if plots else []),
        *plots,
        Heading("Scenes"),
        Table(head, lines, foot, words=1),
    ]
    return Document(f"{comparison.ours} compared with {comparison.theirs}", tuple(blocks))


def _facts(comparison: Comparison) -> list[Fact]:
    facts = []
    for metric in comparison.metrics:
        differences = comparison.differences(metric.key)
        sign = -1 if metric.key in LESS_IS_BETTER else 1
        better = sum(sign * each > 0 for each in differences)
        note = f"better in {better} of {len(differences)} scenes"
        facts.append(Fact(metric.heading, _signed(metric, fmean(differences)), note))
    return facts


def _left_out_blocks(comparison: Comparison) -> list[Block]:
    items = _left_out(comparison)
    return [Heading("Not compared"), Items(tuple(items))] if items else []


def _left_out(comparison: Comparison) -> list[Item]:
    items = [Item(name, states) for name, states in comparison.without_numbers]
    items += [Item(name, f"only in {comparison.ours}") for name in comparison.only_ours]
    return items + [Item(name, f"only in {comparison.theirs}") for name in comparison.only_theirs]


def _cells(comparison: Comparison) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Head, a line a scene, and the averages."""
    metrics = comparison.metrics
    names = (comparison.theirs, comparison.ours)
    head = ["scene"]
    for metric in metrics:
        head += [*(f"{metric.heading} {name}" for name in names), "difference"]
    lines = [_line(pair, metrics) for pair in comparison.pairs]
    return head, lines, [_means(comparison, metrics)] if metrics else []


def _line(pair: Pair, metrics: Sequence[Metric]) -> list[str]:
    cells = [pair.scene]
    for metric in metrics:
        cells += [metric.text(side.get(metric.key)) for side in (pair.theirs, pair.ours)]
        cells.append(_signed(metric, pair.difference(metric.key)))
    return cells


def _means(comparison: Comparison, metrics: Sequence[Metric]) -> list[str]:
    cells = ["average"]
    for metric in metrics:
        key = metric.key
        both = [pair for pair in comparison.pairs if pair.difference(key) is not None]
        theirs, ours = fmean(p.theirs[key] for p in both), fmean(p.ours[key] for p in both)
        cells += [metric.text(theirs), metric.text(ours), _signed(metric, ours - theirs)]
    return cells


def _signed(metric: Metric, value: float | None) -> str:
    return "" if value is None else f"{value:+.{metric.decimals}f}"


def _csv(comparison: Comparison) -> str:
    """Full numbers, a line a scene."""
    metrics = comparison.metrics
    head = ["scene"]
    for metric in metrics:
        key = metric.key
        head += [f"{key}_{comparison.theirs}", f"{key}_{comparison.ours}", f"{key}_difference"]
    lines = [
        [
            pair.scene,
            *(
                value
                for metric in metrics
                for value in (
                    pair.theirs.get(metric.key, ""),
                    pair.ours.get(metric.key, ""),
                    pair.difference(metric.key),
                )
            ),
        ]
        for pair in comparison.pairs
    ]
    return csv_text(head, lines)
