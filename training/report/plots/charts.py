"""Size, colours and axes of all plots. Matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.report.plots.timeline import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 60
"""With more scenes than this a plot leaves out their names, or bins them."""
WIDTH_IN = 9.0
ROW_IN = 0.25
FRAME_IN = 1.1
DPI = 120
LONGEST_LABEL = 42
INK, SOFT, LINE = "#1b2430", "#5b6675", "#dfe4ea"
BLUE, GREY, RED = "#2f6fb0", "#a9b3bf", "#c4483a"
KIND_COLOURS: dict[Kind, str] = {
    "done": BLUE,
    "running": "#4c9f70",
    "interrupted": "#e2a33c",
    "failed": RED,
    "cancelled": "#7d8794",
}
WAIT_COLOUR = "#d3dae2"
DASHED: dict[str, Any] = {"color": INK, "linewidth": 1, "linestyle": (0, (4, 3))}
"""How the line of a mean is drawn."""


@dataclass(frozen=True)
class Plot:
    """A finished plot with its title."""

    name: str
    title: str
    axes: Axes
    note: str = ""

    def saved(self, file_format: str = "png") -> bytes:
        """Return the content of its file: png, or pdf and svg, which are drawn with vectors."""
        stream = io.BytesIO()
        self.axes.figure.savefig(stream, format=file_format)  # type: ignore[union-attr]
        return stream.getvalue()


def import_plots() -> None:
    """Import what the first plot would wait for, for a report that will be written later."""
    with contextlib.suppress(ImportError):  # the report says so
        axes()


def axes(rows: int = 0, height_in: float = 4.0) -> Axes:
    """Return empty axes, as high as `rows` rows need, or of `height_in` inches without rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs how it builds its font cache
    height = FRAME_IN + ROW_IN * max(rows, 2) if rows else height_in
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    made = figure.add_subplot()
    made.spines[["top", "right"]].set_visible(False)
    made.spines[["left", "bottom"]].set_color(LINE)
    made.tick_params(colors=SOFT, labelcolor=INK, labelsize=8.5, length=3)
    made.grid(visible=True, color=LINE, linewidth=0.6)
    made.set_axisbelow(True)
    for axis in (made.xaxis, made.yaxis):
        axis.label.set(size=9, color=SOFT)
    return made


def bars(
    made: Axes,
    places: Sequence[int],
    left: Sequence[float],
    right: Sequence[float],
    height: float,
    *,
    color: str,
    label: str,
    edge: float = 0.0,
) -> None:
    """Draw horizontal bars as one collection: ten thousand single ones take minutes.

    `left` and `right` are in data units, `edge` is the width of the bars' outlines in points.
    """
    from matplotlib.collections import PolyCollection

    corners = [
        [(x, y - height / 2), (end, y - height / 2), (end, y + height / 2), (x, y + height / 2)]
        for y, x, end in zip(places, left, right, strict=True)
    ]
    outline = color if edge else "none"
    made.add_collection(
        PolyCollection(corners, facecolor=color, edgecolor=outline, linewidth=edge, label=label)
    )
    made.autoscale_view()


def name_rows(made: Axes, names: Sequence[str]) -> None:
    """Label one row for each name, the first on top."""
    made.set_yticks(range(len(names)), [label(name) for name in names], parse_math=False)
    made.set_ylim(len(names) - 0.4, -0.6)
    made.grid(visible=False, axis="y")
    made.tick_params(axis="y", length=0)


def label(text: str) -> str:
    """Return a name short enough to leave room for the plot, with its middle left out."""
    if len(text) <= LONGEST_LABEL:
        return text
    half = LONGEST_LABEL // 2
    return f"{text[: half - 1]}…{text[-half:]}"


def legend(made: Axes) -> None:
    """Add a legend in one line above the plot, if anything has a label."""
    handles, names = made.get_legend_handles_labels()
    if handles:
        made.legend(
            handles,
            names,
            ncols=len(names),
            loc="lower left",
            bbox_to_anchor=(0, 1),
            frameon=False,
            fontsize=8.5,
            borderaxespad=0.2,
        )


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the unit in which so many seconds read well: its length in seconds, its name."""
    if seconds < 180:  # noqa: PLR2004 - three minutes
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def unnamed(count: int, how: str) -> str:
    """Return the note of a plot with too many scenes for names."""
    return f"{count:,} scenes: {how}"
