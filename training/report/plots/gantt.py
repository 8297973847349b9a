"""Plot when each scene waited in the queue and ran, by machine and job."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from preprocess.faults import counted
from training.report.plots import charts
from training.report.plots.charts import INK, KIND_COLOURS, SOFT, WAIT_COLOUR, Plot
from training.report.plots.timeline import Clock, Span
from training.report.tables import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GANTT = "gantt"
MOST_MACHINES = 24
"""With more machines than this, their names are left out."""
MANY_ROWS_IN = 8.0


def gantt(spans: Sequence[Span]) -> Plot | None:
    """Plot a row for each scene on each machine and job; None where nothing ran."""
    if not spans:
        return None
    rows = _rows(spans)
    named = len(rows) <= charts.MOST_NAMED
    made = charts.axes(rows=len(rows)) if named else charts.axes(height_in=MANY_ROWS_IN)
    clock = Clock.of(spans)
    unit, name = charts.time_unit(max(clock.at(span.end) for span in spans))
    _draw_bars(made, rows, clock, unit)
    charts.name_rows(made, [_name(row[0]) for row in rows] if named else [])
    if not named:
        made.set_ylim(len(rows) - 0.4, -0.6)
        made.set_ylabel(f"{len(rows):,} rows, one for each scene on each machine")
    _draw_machines(made, rows)
    _draw_cuts(made, clock, unit)
    made.margins(x=0.01)
    made.set_xlabel(f"{name} since {spans_begin(spans)}")
    charts.legend(made)
    return Plot(GANTT, "Scenes over machines and time", made, _note(rows, clock, named))


def spans_begin(spans: Sequence[Span]) -> str:
    """Return the moment at which the chart starts."""
    return f"{min(span.begin for span in spans):%Y-%m-%d %H:%M} UTC"


def _rows(spans: Sequence[Span]) -> list[list[Span]]:
    """Group attempts by machine, job and scene; a machine's jobs by their first attempt."""
    jobs: dict[tuple[str, str], float] = {}
    for span in sorted(spans, key=lambda each: each.start):
        jobs.setdefault((span.host, span.job_id), span.start.timestamp())
    rows: dict[tuple[str, str, str], list[Span]] = {}
    for span in spans:
        rows.setdefault((span.host, span.job_id, span.scene), []).append(span)

    def order(row: Sequence[Span]) -> tuple[object, ...]:
        first = row[0]
        job = jobs[first.host, first.job_id]
        return first.host, job, first.job_id, first.start, first.scene

    return sorted(rows.values(), key=order)


def _name(span: Span) -> str:
    """Return the scene's name and its job, where it ran in one."""
    return f"{charts.label(span.scene)}  {span.job_id}" if span.job_id else span.scene


def _draw_bars(made: Axes, rows: Sequence[Sequence[Span]], clock: Clock, unit: float) -> None:
    placed = [(place, span) for place, row in enumerate(rows) for span in row]
    waits = [(place, span.queued, span.start) for place, span in placed if span.queued]
    if waits:
        height = 0.36 if len(rows) <= charts.MOST_NAMED else 1.0  # thin lines would make patterns
        waiting = "in the queue" if any(span.job_id for _, span in placed) else "waiting"
        places, begins, ends = zip(*waits, strict=True)
        left = [clock.at(each) / unit for each in begins]
        right = [clock.at(each) / unit for each in ends]
        charts.bars(made, places, left, right, height, color=WAIT_COLOUR, label=waiting)
    for kind, colour in KIND_COLOURS.items():
        mine = [(place, span) for place, span in placed if span.kind == kind]
        if not mine:
            continue
        left = [clock.at(span.start) / unit for _, span in mine]
        right = [clock.at(span.end) / unit for _, span in mine]
        rows_of = [place for place, _ in mine]
        charts.bars(made, rows_of, left, right, 0.74, color=colour, edge=0.6, label=kind)


def _draw_machines(made: Axes, rows: Sequence[Sequence[Span]]) -> None:
    """Write the machines' names on the right and draw lines between them."""
    groups = [(host, list(group)) for host, group in groupby(rows, key=lambda row: row[0].host)]
    if len(groups) > MOST_MACHINES:
        return
    first = 0
    for host, group in groups:
        last = first + len(group)
        if first:
            made.axhline(first - 0.5, color=SOFT, linewidth=0.7)
        made.annotate(
            charts.label(host), (1, (first + last - 1) / 2), (5, 0),
            xycoords=made.get_yaxis_transform(), textcoords="offset points",
            va="center", fontsize=8.5, color=INK, parse_math=False,
        )  # fmt: skip
        first = last


def _draw_cuts(made: Axes, clock: Clock, unit: float) -> None:
    for at, idle in clock.cuts:
        made.axvline(at / unit, color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
        made.annotate(
            f"{duration(idle)} idle", (at / unit, 0), (3, 4),
            xycoords=made.get_xaxis_transform(), textcoords="offset points",
            fontsize=7.5, color=SOFT, rotation=90, va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip


def _note(rows: Sequence[Sequence[Span]], clock: Clock, named: bool) -> str:
    jobs = {(row[0].host, row[0].job_id) for row in rows if row[0].job_id}
    machines = len({row[0].host for row in rows})
    many = machines > MOST_MACHINES
    named_where = "not named" if many else "named on the right"
    notes = [f"{counted(machines, 'machine')} ({named_where})"]
    notes += [f"{len(jobs)} Slurm jobs"] if jobs else []
    notes += [] if named else ["too many scenes for names: metrics.csv has each one's machine"]
    notes += ["idle time is cut out at the dashed lines"] if clock.cuts else []
    return "; ".join(notes) + "."
