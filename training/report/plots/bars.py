"""Plot one number by scene: PSNR before and after training, DiFix samples, duration."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from training.report.plots import charts
from training.report.plots.charts import BLUE, GREY, INK, KIND_COLOURS, RED, Plot
from training.report.plots.timeline import Kind, Span
from training.report.scene_rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 40
PSNR, SAMPLES, DURATION = "psnr_by_scene", "samples_by_scene", "duration_by_scene"


def psnr_by_scene(rows: Sequence[Row]) -> Plot | None:
    """Plot the PSNR of held-out cameras before and after training, best first; None without any."""
    found = [row for row in rows if "psnr" in row.numbers]
    if not found:
        return None
    found.sort(key=lambda row: -row.numbers["psnr"])
    draw, note = _named_psnr, "Best first."
    if len(found) > charts.MOST_NAMED:
        note = charts.unnamed(len(found), "best first, without names; the table has them.")
        draw = _ranked_psnr
    return Plot(PSNR, "PSNR by scene", draw(found), note)


def samples_by_scene(rows: Sequence[Row]) -> Plot | None:
    """Plot how many DiFix samples were made and dropped; None without any."""
    found = [row for row in rows if "samples" in row.numbers]
    if not found:
        return None
    shown = sorted(found, key=lambda row: -row.numbers["samples"])[: charts.MOST_NAMED]
    made = charts.axes(rows=len(shown))
    places = range(len(shown))
    kept = [row.numbers["samples"] for row in shown]
    dropped = [row.numbers.get("dropped", 0) for row in shown]
    made.barh(places, kept, 0.7, color=BLUE, label="samples")
    made.barh(places, dropped, 0.7, left=kept, color=GREY, label="dropped")
    charts.name_rows(made, [row.scene for row in shown])
    made.locator_params("x", integer=True)
    made.set_xlabel("samples")
    charts.legend(made)
    cut = len(shown) < len(found)
    note = charts.unnamed(len(found), f"the {len(shown)} with the most.") if cut else ""
    return Plot(SAMPLES, "Samples by scene", made, note)


def duration_by_scene(spans: Sequence[Span]) -> Plot | None:
    """Plot how long each scene ran, over all attempts; None where nothing ran."""
    scenes: dict[str, list[Span]] = {}
    for span in spans:
        scenes.setdefault(span.scene, []).append(span)
    if not scenes:
        return None
    ordered = sorted(scenes.values(), key=lambda each: -_seconds(each))
    draw, note = _named_durations, "All attempts, longest first."
    if len(ordered) > charts.MOST_NAMED:
        note = charts.unnamed(len(ordered), "how many took how long, all attempts together.")
        draw = _binned_durations
    return Plot(DURATION, "Duration by scene", draw(ordered), note)


def _named_psnr(rows: Sequence[Row]) -> Axes:
    made = charts.axes(rows=len(rows))
    after = [row.numbers["psnr"] for row in rows]
    known = _known_before(rows)
    before = list(known.values())
    made.hlines(
        list(known), before, [after[place] for place in known], color=GREY, linewidth=2.5, zorder=2
    )
    if known:
        made.scatter(
            before, list(known), s=42, color="white", edgecolor=GREY, zorder=3, label="before"
        )
    made.scatter(after, range(len(rows)), s=42, color=BLUE, zorder=4, label="after training")
    for place, value in enumerate(after):
        made.annotate(
            f"{value:.1f}", (value, place), (7, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK,
        )  # fmt: skip
    made.axvline(fmean(after), label=f"mean {fmean(after):.1f}", **charts.DASHED)
    charts.name_rows(made, [row.scene for row in rows])
    made.margins(x=0.08)
    made.set_xlabel("PSNR of held-out cameras, dB")
    charts.legend(made)
    return made


def _ranked_psnr(rows: Sequence[Row]) -> Axes:
    made = charts.axes()
    known = _known_before(rows)
    after = [row.numbers["psnr"] for row in rows]
    if known:
        made.scatter(list(known), list(known.values()), s=5, color=GREY, label="before")
    made.scatter(range(len(rows)), after, s=7, color=BLUE, label="after training")
    made.axhline(fmean(after), label=f"mean {fmean(after):.1f}", **charts.DASHED)
    made.set_xlabel("scenes, best first")
    made.set_ylabel("PSNR of held-out cameras, dB")
    made.margins(x=0.01)
    charts.legend(made)
    return made


def _known_before(rows: Sequence[Row]) -> dict[int, float]:
    """Return the PSNR before training, where it is known, by the row's place."""
    found = {place: row.numbers.get("before_psnr") for place, row in enumerate(rows)}
    return {place: value for place, value in found.items() if value is not None}


def _seconds(spans: Sequence[Span]) -> float:
    return sum((span.end - span.start).total_seconds() for span in spans)


def _named_durations(scenes: Sequence[Sequence[Span]]) -> Axes:
    made = charts.axes(rows=len(scenes))
    unit, name = charts.time_unit(_seconds(scenes[0]))
    seen: set[Kind] = set()
    for place, spans in enumerate(scenes):
        left = 0.0
        for span in spans:
            width = _seconds([span]) / unit
            made.barh(place, width, 0.7, left=left, color=KIND_COLOURS[span.kind],
                      edgecolor="white", linewidth=0.5,
                      label="" if span.kind in seen else span.kind)  # fmt: skip
            seen.add(span.kind)
            left += width
    charts.name_rows(made, [spans[0].scene for spans in scenes])
    made.set_xlabel(name)
    charts.legend(made)
    return made


def _binned_durations(scenes: Sequence[Sequence[Span]]) -> Axes:
    made = charts.axes()
    unit, name = charts.time_unit(_seconds(scenes[0]))
    done = [_seconds(spans) / unit for spans in scenes if spans[-1].kind == "done"]
    others = [_seconds(spans) / unit for spans in scenes if spans[-1].kind != "done"]
    made.hist([done, others], BINS, stacked=True, color=[BLUE, RED], label=["done", "not done"])
    made.set_xlabel(name)
    made.set_ylabel("scenes")
    charts.legend(made)
    return made
