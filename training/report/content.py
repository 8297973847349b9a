"""What the report of one experiment says, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from training.records.record import now
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
from training.report.metrics import shown
from training.report.plots.charts import MOST_NAMED
from training.report.plots.timeline import Span, longest_and_median_wait
from training.report.scene_rows import Row, before, is_number
from training.report.tables import average_cells, duration, headings, scene_cells

MOST_PICTURES = 12


def document(
    title: str,
    rows: Sequence[Row],
    spans: Sequence[Span],
    plots: Sequence[Picture],
    notes: Sequence[str],
    *,
    on_gpus: bool = True,
    root: Path | None = None,
) -> Document:
    """The whole report; `notes` are what went wrong with its pictures."""
    source = f" in {root}" if root else ""
    done = [row for row in rows if row.is_done]
    pictures: list[Block] = [Heading("Plots"), *plots] if plots else []
    blocks: list[Block] = [
        Text(f"{len(done)} of {len(rows)} scenes done."),
        Facts(tuple(_facts(rows, spans, on_gpus=on_gpus))),
        *map(Text, notes),
        *_missing(rows),
        *_averages(rows),
        *pictures,
        Heading("Scenes"),
        Table(headings(rows), scene_cells(rows), average_cells(rows)),
        *_pictures(done),
        Text(f"Written {now():%Y-%m-%d %H:%M} UTC from the run records{source}."),
    ]
    return Document(title, tuple(blocks))


def _facts(rows: Sequence[Row], spans: Sequence[Span], *, on_gpus: bool) -> list[Fact]:
    done = [row for row in rows if row.is_done]
    facts = [Fact("scenes done", f"{len(done)} of {len(rows)}", _others(rows))]
    facts += [*_psnr(done), *_samples(done)]
    starts = sum(row.attempts for row in rows)
    hours = sum(row.seconds for row in rows) / 3600
    name, note = ("GPU-hours", ", one GPU each") if on_gpus else ("hours of training", "")
    facts += [Fact(name, f"{hours:.2f}", f"{_count(starts, 'attempt')}{note}")] if starts else []
    waits = longest_and_median_wait(spans)
    if waits:
        longest, middle = map(duration, waits)
        facts.append(Fact("wait in the queue", middle, f"median; longest {longest}"))
    if spans:
        begin, end = min(span.begin for span in spans), max(span.end for span in spans)
        took = duration((end - begin).total_seconds())
        facts.append(Fact("first to last", took, f"from {begin:%Y-%m-%d %H:%M} UTC"))
    return facts


def _others(rows: Sequence[Row]) -> str:
    states = [row.status for row in rows if not row.is_done]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _psnr(done: Sequence[Row]) -> list[Fact]:
    after = [row.metrics["psnr"] for row in done if is_number(row.metrics.get("psnr"))]
    first = [before(row.metrics).get("psnr") for row in done]
    known = [value for value in first if is_number(value)]
    note = f"{fmean(known):.1f} dB before training" if known else ""
    return [Fact("mean PSNR", f"{fmean(after):.1f} dB", note)] if after else []


def _samples(done: Sequence[Row]) -> list[Fact]:
    counts = [shown(row) for row in done if "samples" in shown(row)]
    made, dropped = (sum(each.get(key, 0) for each in counts) for key in ("samples", "dropped"))
    return [Fact("samples", f"{made:,.0f}", f"{dropped:,.0f} dropped")] if counts else []


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _missing(rows: Sequence[Row]) -> list[Block]:
    items = [
        Item(row.scene, f"{row.state}, log: {row.log}", row.message)
        for row in rows
        if not row.is_done
    ]
    return [Heading("Not done"), Items(tuple(items))] if items else []


def _averages(rows: Sequence[Row]) -> list[Block]:
    """Before a table that is too long to be read to its end."""
    lines = average_cells(rows)
    if not lines or len(rows) <= MOST_NAMED:
        return []
    return [Heading("Averages"), Table(headings(rows), lines)]


def _pictures(done: Sequence[Row]) -> list[Block]:
    """Of all scenes; of many those that are worst, in the middle, and best."""
    having = [row for row in done if row.picture]
    if not having:
        return []
    first = having[0]
    is_comparison = is_number(first.metrics.get("psnr"))
    chosen = having
    said: list[Block] = []
    if len(having) > MOST_PICTURES:
        chosen = _spread(sorted(having, key=_psnr_of))
        said = [Text(f"{MOST_PICTURES} of {len(having):,}: those with the lowest PSNR, the middle,"
                     " and the highest.")]  # fmt: skip
    title = "Pictures: target, before, after" if is_comparison else "Pictures"
    return [Heading(title), *said, *map(_picture, chosen)]


def _psnr_of(row: Row) -> float:
    value = row.metrics.get("psnr")
    return value if is_number(value) else 0.0


def _spread(rows: Sequence[Row]) -> list[Row]:
    third = MOST_PICTURES // 3
    middle = (len(rows) - third) // 2
    return [*rows[:third], *rows[middle : middle + third], *rows[-third:]]


def _picture(row: Row) -> Picture:
    psnr = row.metrics.get("psnr")
    note = f"PSNR {psnr:.1f} dB" if is_number(psnr) else ""
    return Picture(row.picture or Path(), row.scene, note)
