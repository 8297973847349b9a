"""Plot how experiments differ: PSNR of the same scenes in two of them, or in more."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from training.report.plots import charts
from training.report.plots.charts import BLUE, INK, RED, Plot

if TYPE_CHECKING:
    from training.report.comparison import Compared, Comparison

BINS = 40
MOST_EXPERIMENTS = 10
"""As many as there are colours that can be told apart."""
NAME, LABEL = "psnr", "PSNR of held-out cameras, dB"


def psnr_differences(comparison: Comparison) -> Plot | None:
    """Plot by how much each scene's PSNR differs, best first; None where none can be compared."""
    scenes = comparison.with_number("psnr")
    found = [(each.difference("psnr", 1), each.scene) for each in scenes]
    known = sorted(((value, scene) for value, scene in found if value is not None), reverse=True)
    if not known:
        return None
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
    ours, theirs = comparison.names
    return Plot(NAME, f"PSNR: {ours} minus {theirs}", made, note)


def psnr_by_experiment(comparison: Comparison) -> Plot | None:
    """Plot the PSNR of each scene in each experiment, best first; None without any.

    Of many scenes or experiments as boxes: how each experiment's scenes are spread.
    """
    scenes = comparison.with_number("psnr")
    if not scenes:
        return None
    if len(scenes) > charts.MOST_NAMED or len(comparison.names) > MOST_EXPERIMENTS:
        return _boxes(comparison, scenes)
    ordered = sorted(scenes, key=lambda each: -each.numbers[0]["psnr"])
    made = charts.axes(rows=len(ordered))
    for place, name in enumerate(comparison.names):
        values = [each.numbers[place]["psnr"] for each in ordered]
        made.scatter(values, range(len(ordered)), s=42, color=f"C{place}", label=name, zorder=3)
    charts.name_rows(made, [each.scene for each in ordered])
    made.set_xlabel(LABEL)
    charts.legend(made)
    return Plot(NAME, "PSNR by experiment", made)


def _boxes(comparison: Comparison, scenes: Sequence[Compared]) -> Plot:
    made = charts.axes(rows=len(comparison.names))
    values = [
        [each.numbers[place]["psnr"] for each in scenes] for place in range(len(comparison.names))
    ]
    made.boxplot(values, positions=range(len(values)), orientation="horizontal", widths=0.6)
    charts.name_rows(made, comparison.names)
    made.set_xlabel(LABEL)
    note = (
        f"{len(scenes):,} scenes: median, quartiles, and single scenes beyond 1.5 of their range."
    )
    return Plot(NAME, "PSNR by experiment", made, note)
