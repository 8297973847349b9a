"""Compose and write the comparison of experiments: tables, plot, pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preprocess.faults import counted
from training.report.blocks import (
    Block,
    Document,
    Fact,
    Facts,
    Heading,
    Item,
    Items,
    Picture,
    SideBySide,
    Table,
    Text,
)
from training.report.comparison import PAIR, Compared, Comparison, to_csv
from training.report.metrics import Column
from training.report.plots.charts import Plot
from training.report.plots.differences import psnr_by_experiment, psnr_differences
from training.report.settings import text_of
from training.report.tables import aligned
from training.report.write import (
    Format,
    in_other_formats,
    report_paths,
    write_document,
    write_latex,
    write_plots,
)
from training.system.atomic_write import write_atomically
from training.system.paths import Roots
from training.system.text_table import terminal_width

MOST_PICTURES = 24
LONGEST_NAMES = 100
"""Letters of the experiments' names in a file's name; more would be too long for some disks."""


@dataclass(frozen=True)
class WrittenComparison:
    """A comparison, and the files that it was written to."""

    comparison: Comparison
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    """What went wrong with its pictures."""

    @property
    def text(self) -> str:
        """The comparison for a terminal: settings, numbers, and what is not compared."""
        found, width = self.comparison, terminal_width()
        few = [column for column in found.columns if "terminal" in column.shown_in]
        numbers = _main_table(found, few)
        left_out = [f"{item.name}: {item.text}" for item in _left_out(found)]
        short = replace(found, settings=_with_short_keys(found.settings))
        settings = [*aligned(_settings_table(short), width), ""] if found.settings else []
        leaves = _leaves(found, few) if _is_pair(found) else None
        return "\n".join(["", *settings, *aligned(numbers, width, leaves), "", *left_out])


def write_comparison(
    roots: Roots, comparison: Comparison, output_subdir: str = "", formats: Sequence[Format] = ()
) -> WrittenComparison:
    """Write a comparison into the folder of its first experiment; raises OSError.

    `formats`: those that table and plot are written in besides.
    """
    place = report_paths(roots, comparison.names[0], output_subdir)
    name, notes = _file_name(comparison.names[1:]), list[str]()
    csv_file = place.file(f"{name}.csv")
    write_atomically(csv_file, to_csv(comparison))
    drawings = {f"{name}_psnr": lambda: _psnr_plot(comparison)}
    plots = write_plots(place, drawings, notes, formats)
    documents = write_document(place, name, comparison_document(comparison, plots, notes), notes)
    more = write_latex(place, name, _main_table(comparison, comparison.columns), formats)
    pictures = [*(picture.path for picture in plots), *in_other_formats(plots, formats)]
    files = (*documents, csv_file, *pictures, *more)
    return WrittenComparison(comparison, files, tuple(notes))


def comparison_document(
    comparison: Comparison, plots: Sequence[Picture] = (), notes: Sequence[str] = ()
) -> Document:
    """Return a comparison as a document; `notes` say what went wrong with its plots."""
    names = comparison.names
    left_out = tuple(_left_out(comparison))
    left_out_below: list[Block] = [Heading("Not compared"), Items(left_out)] if left_out else []
    plots_below: list[Block] = [Heading("Plot"), *plots] if plots else []
    blocks: list[Block] = [
        *_settings(comparison),
        Heading("Numbers"),
        Text(
            f"Differences are {names[0]} minus {_either(names[1:])}, computed before rounding;"
            f" averages are over {counted(len(comparison.scenes), 'scene')}, of which all have"
            " numbers."
        ),
        Facts(tuple(_facts(comparison))),
        *map(Text, notes),
        *left_out_below,
        *plots_below,
        *_tables(comparison),
        *_pictures(comparison),
    ]
    return Document(f"{names[0]} compared with {' and '.join(names[1:])}", tuple(blocks))


def _main_table(comparison: Comparison, columns: Sequence[Column]) -> Table:
    """Return the scenes of two experiments, or the averages of more."""
    make = _pair_table if _is_pair(comparison) else _averages
    return make(comparison, columns)


def _is_pair(comparison: Comparison) -> bool:
    return len(comparison.names) == PAIR


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "each of the others"


def _file_name(others: Sequence[str]) -> str:
    others = [name.replace("/", "_") for name in others]  # of a sweep's settings
    whole = f"compare_{'_and_'.join(others)}"
    if len(whole) <= LONGEST_NAMES or len(others) == 1:
        return whole
    return f"compare_{others[0]}_and_{len(others) - 1}_more"


def _settings(comparison: Comparison) -> list[Block]:
    """Return in what the experiments' configurations differ."""
    blocks: list[Block] = [Heading("What differs")]
    silent = [name for name in comparison.names if name not in comparison.configured]
    if comparison.settings:
        blocks.append(_settings_table(comparison))
    elif not silent:
        blocks.append(Text("Nothing: their configurations are the same."))
    if silent:
        blocks.append(Text(f"Not known of {', '.join(silent)}: no record says its configuration."))
    return blocks


def _with_short_keys(settings: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Return settings by the last two parts of their keys, where those are unique."""
    shortened = {key: ".".join(key.split(".")[-2:]) for key in settings}
    if len(set(shortened.values())) < len(settings):
        return dict(settings)
    return {shortened[key]: values for key, values in settings.items()}


def _settings_table(comparison: Comparison) -> Table:
    """Return a line a setting with its value in each experiment, in the order of the numbers."""
    turn = -1 if _is_pair(comparison) else 1
    lines = [
        [key, *("" if value is None else text_of(value) for value in values[::turn])]
        for key, values in comparison.settings.items()
    ]
    head = ["setting", *comparison.configured[::turn]]
    return Table(head, lines, text_columns=len(head))


def _facts(comparison: Comparison) -> list[Fact]:
    make = _difference if _is_pair(comparison) else _best
    return [make(comparison, column) for column in comparison.columns]


def _difference(comparison: Comparison, column: Column) -> Fact:
    differences = [each.difference(column.key, 1) or 0.0 for each in _with(comparison, column)]
    sign, word = (-1, "better") if column.is_less_better else (1, "better")
    if column.is_less_better is None:
        word = "higher"
    count = sum(sign * each > 0 for each in differences)
    mean = column.precise(comparison.mean_difference(column.key, 1), "+")
    return Fact(column.heading, mean, f"{word} in {count} of {len(differences)} scenes")


def _best(comparison: Comparison, column: Column) -> Fact:
    means = {
        name: comparison.mean(column.key, place) for place, name in enumerate(comparison.names)
    }
    choose = min if column.is_less_better else max
    best = choose(means, key=lambda name: means[name])
    word = "highest" if column.is_less_better is None else "best"
    note = best if len(set(means.values())) > 1 else "all of them"
    return Fact(f"{column.heading}, {word}", column.precise(means[best]), note)


def _with(comparison: Comparison, column: Column) -> list[Compared]:
    return comparison.with_number(column.key)


def _left_out(comparison: Comparison) -> list[Item]:
    return [Item(scene, reason) for scene, reason in comparison.left_out]


def _tables(comparison: Comparison) -> list[Block]:
    if _is_pair(comparison):
        return [Heading("Scenes"), _pair_table(comparison, comparison.columns)]
    blocks: list[Block] = [Heading("Averages"), _averages(comparison, comparison.columns)]
    for column in comparison.columns:
        blocks += [Heading(column.heading), _scenes_table(comparison, column)]
    return blocks


def _pair_table(comparison: Comparison, columns: Sequence[Column]) -> Table:
    """Return a line a scene, theirs, ours and the difference of each number, and the averages."""
    ours, theirs = comparison.names
    head = ["scene"]
    for column in columns:
        head += [f"{column.heading} {name}" for name in (theirs, ours, "difference")]
    lines = [_pair_line(each, columns) for each in comparison.scenes]
    average = ["average"]
    for column in columns:
        means = [comparison.mean(column.key, place) for place in (1, 0)]
        average += [*map(column.precise, means)]
        average.append(column.precise(comparison.mean_difference(column.key, 1), "+"))
    return Table(head, lines, [average] if columns else [], text_columns=1)


def _leaves(comparison: Comparison, columns: Sequence[Column]) -> dict[str, int]:
    """Return which columns of the pair's table a narrow terminal leaves out first, by heading.

    The last number's come first, and a number's values before its difference.
    """
    ours, theirs = comparison.names
    names = ("difference", ours, theirs)
    headings = [f"{column.heading} {name}" for column in columns for name in names]
    return {"scene": 0} | {heading: place for place, heading in enumerate(headings)}


def _pair_line(scene: Compared, columns: Sequence[Column]) -> list[str]:
    cells = [scene.scene]
    for column in columns:
        ours, theirs = scene.values(column.key)
        difference = column.precise(scene.difference(column.key, 1), "+")
        cells += [column.precise(theirs), column.precise(ours), difference]
    return cells


def _averages(comparison: Comparison, columns: Sequence[Column]) -> Table:
    """Return a line an experiment: its means, and the first one's minus them."""
    head = ["experiment"]
    for column in columns:
        head += [column.heading, f"{comparison.names[0]} minus it"]
    lines = []
    for place, name in enumerate(comparison.names):
        line = [name]
        for column in columns:
            difference = comparison.mean_difference(column.key, place) if place else None
            mean = column.precise(comparison.mean(column.key, place))
            line += [mean, column.precise(difference, "+")]
        lines.append(line)
    return Table(head, lines, text_columns=1)


def _scenes_table(comparison: Comparison, column: Column) -> Table:
    """Return a line a scene: one number in each experiment, and the differences."""
    names = comparison.names
    others = range(1, len(names))
    head = ["scene", names[0]]
    for other in others:
        head += [names[other], f"{names[0]} minus it"]
    lines = []
    for each in _with(comparison, column):
        values = each.values(column.key)
        line = [each.scene, column.precise(values[0])]
        for other in others:
            difference = column.precise(each.difference(column.key, other), "+")
            line += [column.precise(values[other]), difference]
        lines.append(line)
    return Table(head, lines, text_columns=1)


def _psnr_plot(comparison: Comparison) -> Plot | None:
    return psnr_differences(comparison) if _is_pair(comparison) else psnr_by_experiment(comparison)


def _pictures(comparison: Comparison) -> list[Block]:
    """Return each scene's pictures side by side; of many scenes those that differ most."""
    having = [each for each in comparison.scenes if sum(map(bool, each.pictures)) > 1]
    if not having:
        return []
    most = max(1, MOST_PICTURES // len(comparison.names))
    chosen = sorted(having, key=_spread, reverse=True)[:most]
    notes = [Text(f"{len(chosen)} of {len(having):,} scenes: those whose PSNR differs most.")]
    return [
        Heading("Pictures"),
        *(notes if len(chosen) < len(having) else []),
        *(_side_by_side(comparison.names, each) for each in having if each in chosen),
    ]


def _spread(scene: Compared) -> float:
    values = [value for value in scene.values("psnr") if value is not None]
    return max(values) - min(values) if values else 0.0


def _side_by_side(names: Sequence[str], scene: Compared) -> SideBySide:
    turn = -1 if len(names) == PAIR else 1  # as in the tables
    pictures = [
        Picture(path, name, "" if psnr is None else f"PSNR {psnr:.2f} dB")
        for name, path, psnr in zip(names, scene.pictures, scene.values("psnr"), strict=True)
        if path
    ]
    return SideBySide(scene.scene, tuple(pictures[::turn]))
