"""Compose the report of one experiment out of blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from preprocess.faults import counted
from training.configuration.configuration_file import is_of_own_trainer
from training.plan.aggregate_state import AggregateState, missing_text
from training.plan.model import Plan
from training.records.record import now
from training.records.scene_state import code_versions
from training.report.blocks import (
    Block,
    Code,
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
from training.report.gpu_hours import are_on_gpus, gpu_hours, gpus_of_job, trained_hours
from training.report.plots.charts import MOST_NAMED
from training.report.plots.timeline import Span, longest_and_median_wait
from training.report.scene_rows import Row
from training.report.settings import common_settings, own_defaults, text_of
from training.report.tables import duration, scene_table

MOST_PICTURES = 12
MOST_LAUNCHES = 3
"""Command lines that are shown."""
IN_MOTION = "In motion"
ANIMATIONS = {
    "turntable": "around the people of the middle frame",
    "fly_along": "to both sides of the source camera, while the people move",
}


def title_of(exp_name: str, output_subdir: str) -> str:
    """Return the title of a report: `my_exp`, or `my_exp (difix_data)`."""
    return f"{exp_name} ({output_subdir})" if output_subdir else exp_name


def experiment_report(
    title: str,
    rows: Sequence[Row],
    spans: Sequence[Span],
    plots: Sequence[Picture],
    notes: Sequence[str],
    *,
    plans: Sequence[Plan],
    root: Path,
    aggregate: AggregateState | None = None,
    comparison: Sequence[Block] = (),
) -> Document:
    """Return the whole report; `notes` say what went wrong with its pictures.

    `plans`: the experiment's, as far as they are known. `aggregate`: how the merge of the scenes'
    outputs stands; None where nothing is merged. `comparison`: what its refiner loop has won.
    """
    scenes = scene_table(rows)
    drawn: list[Block] = [Heading("Plots"), *plots] if plots else []
    blocks: list[Block] = [
        *_overview(rows, spans, plans, aggregate),
        *map(Text, notes),
        *_not_done(rows, aggregate),
        *comparison,
        *_averages_first(scenes),
        *drawn,
        Heading("Scenes"),
        scenes,
        *_pictures([row for row in rows if row.is_done]),
        Text(f"Written {now():%Y-%m-%d %H:%M} UTC from the run records in {root}."),
    ]
    return Document(title, tuple(blocks))


def _overview(
    rows: Sequence[Row],
    spans: Sequence[Span],
    plans: Sequence[Plan],
    aggregate: AggregateState | None,
) -> list[Block]:
    """Return how the whole experiment stands, and how it was configured and launched."""
    done = sum(row.is_done for row in rows)
    return [
        Text(f"{done} of {counted(len(rows), 'scene')} done."),
        *_settings(rows),
        *_launches(rows),
        Facts((*_facts(rows, spans, plans), *_aggregate_fact(aggregate))),
        *_data(aggregate),
    ]


def _settings(rows: Sequence[Row]) -> list[Block]:
    """Return which settings differ from the trainer's defaults, where records say them."""
    recorded = [row for row in rows if row.configuration]
    if not recorded:
        return []
    settings = common_settings([row.settings for row in recorded])
    if not settings:
        return [Text("Trained with the defaults of train.yaml.")]
    known = {key: text_of(value) for key, value in own_defaults().items()}
    defaults = known if is_of_own_trainer(recorded[0].configuration) else {}
    lines = [[key, text_of(value), defaults.get(key, "")] for key, value in settings.items()]
    return [Table(["setting", "value", "default"], lines, text_columns=3)]


def _launches(rows: Sequence[Row]) -> list[Block]:
    """Return the command lines that launched the last attempts, where records say them."""
    said = (row.last.launch_command for row in rows if row.last)
    lines = list(dict.fromkeys(filter(None, said)))
    if not lines:
        return []
    more = len(lines) - MOST_LAUNCHES
    title = "Launched with:" if more <= 0 else f"Launched with, and {more} more:"
    return [Text(title), Code("\n".join(lines[:MOST_LAUNCHES]))]


def _facts(rows: Sequence[Row], spans: Sequence[Span], plans: Sequence[Plan]) -> list[Fact]:
    done = [row for row in rows if row.is_done]
    facts = [Fact("scenes done", f"{len(done)} of {len(rows)}", _others(rows))]
    facts += [*_psnr(done), *_samples(done)]
    attempts = sum(len(row.attempts) for row in rows)
    if attempts:
        hours = sum(row.total_s for row in rows) / 3600
        fact = Fact("hours of training", f"{hours:.2f}", counted(attempts, "attempt"))
        facts.append(_trained_on_gpus(spans) if are_on_gpus(plans) else fact)
    facts += _code_versions(rows)
    waits = longest_and_median_wait(span for span in spans if span.job_id)  # else there is no queue
    if waits:
        longest, middle = map(duration, waits)
        facts.append(Fact("wait in the queue", middle, f"median; longest {longest}"))
    if spans:
        begin, end = min(span.begin for span in spans), max(span.end for span in spans)
        took = duration((end - begin).total_seconds())
        facts.append(Fact("first to last", took, f"from {begin:%Y-%m-%d %H:%M} UTC"))
    return [*facts, *_gpu_hours(spans, gpus_of_job(plans))]


def _trained_on_gpus(spans: Sequence[Span]) -> Fact:
    hours = trained_hours(spans)
    of_all = sum((span.end - span.start).total_seconds() for span in spans) / 3600
    how = "one GPU each" if math.isclose(hours, of_all) else "several at once on a GPU"
    return Fact("GPU-hours", f"{hours:.2f}", f"{counted(len(spans), 'attempt')}, {how}")


def _gpu_hours(spans: Sequence[Span], gpus: int) -> list[Fact]:
    hours = gpu_hours(spans, gpus)
    if hours is None:
        return []
    shares = f"busy {hours.busy:.2f}, waiting {hours.waiting:.2f}"
    of = f"{counted(gpus, 'GPU')} a job, from its first scene's start to its last one's end"
    return [Fact("GPU-hours allocated", f"{hours.allocated:.2f}", f"{shares}; {of}")]


def _code_versions(rows: Sequence[Row]) -> list[Fact]:
    """Return which versions of its code trained the scenes, where any is recorded."""
    if not any(attempt.code_version for row in rows for attempt in row.attempts):
        return []
    versions = code_versions(rows)
    return [Fact("trainer's code", counted(len(versions), "version"), ", ".join(versions))]


def _others(rows: Sequence[Row]) -> str:
    states = [row.state for row in rows if not row.is_done]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _psnr(done: Sequence[Row]) -> list[Fact]:
    after, before = (_values(done, key) for key in ("psnr", "before_psnr"))
    note = f"{fmean(before):.1f} dB before training" if before else ""
    return [Fact("mean PSNR", f"{fmean(after):.1f} dB", note)] if after else []


def _samples(done: Sequence[Row]) -> list[Fact]:
    made, dropped = (_values(done, key) for key in ("samples", "dropped"))
    return [Fact("samples", f"{sum(made):,.0f}", f"{sum(dropped):,.0f} dropped")] if made else []


def _values(rows: Sequence[Row], key: str) -> list[float]:
    return [row.numbers[key] for row in rows if key in row.numbers]


def _aggregate_fact(aggregate: AggregateState | None) -> list[Fact]:
    if aggregate is None:
        return []
    job = f"job {aggregate.job_id}" if aggregate.job_id else ""
    return [Fact("aggregate", aggregate.state_and_cause, job)]


def _data(aggregate: AggregateState | None) -> list[Block]:
    return [Text(f"Data: {aggregate.output}")] if aggregate and aggregate.output else []


def _not_done(rows: Sequence[Row], aggregate: AggregateState | None) -> list[Block]:
    items = [
        Item(row.scene, f"{row.state_and_cause}, log: {row.log}", row.message)
        for row in rows
        if not row.is_done
    ]
    if aggregate and not aggregate.is_done:
        missing = missing_text([row.scene for row in rows if not row.is_done], len(rows))
        head = f"{aggregate.state_and_cause}, log: {aggregate.log}"
        items.append(Item("aggregate", head, aggregate.message or missing))
    return [Heading("Not done"), Items(tuple(items))] if items else []


def _averages_first(scenes: Table) -> list[Block]:
    """Return the averages alone, for a table of scenes that nobody reads to its end."""
    if not scenes.foot or len(scenes.lines) <= MOST_NAMED:
        return []
    return [Heading("Averages"), Table(scenes.head, scenes.foot)]


def _pictures(done: Sequence[Row]) -> list[Block]:
    """Return the pictures of all scenes; of many the worst, middle and best ones'."""
    having = [row for row in done if row.picture]
    if not having:
        return []
    chosen = having
    note: list[Block] = []
    if len(having) > MOST_PICTURES:
        chosen = _spread(sorted(having, key=lambda row: row.numbers.get("psnr", 0.0)))
        note = [Text(f"{MOST_PICTURES} of {len(having):,}: those with the lowest PSNR, the middle,"
                     " and the highest.")]  # fmt: skip
    title = "Pictures: target, before, after" if "psnr" in having[0].numbers else "Pictures"
    moving = [_animations(row) for row in chosen if row.animations]
    in_motion: list[Block] = [Heading(IN_MOTION), *moving] if moving else []
    return [Heading(title), *note, *map(_picture, chosen), *in_motion]


def _spread(rows: Sequence[Row]) -> list[Row]:
    third = MOST_PICTURES // 3
    middle = (len(rows) - third) // 2
    return [*rows[:third], *rows[middle : middle + third], *rows[-third:]]


def _picture(row: Row) -> Picture:
    psnr = row.numbers.get("psnr")
    note = "" if psnr is None else f"PSNR {psnr:.1f} dB over all evaluated views"
    views = _shown_views(row)
    return Picture(
        row.picture or Path(), row.scene, f"{note}; from the top: {views}" if views else note
    )


def _shown_views(row: Row) -> str:
    """Return camera, frame and PSNR of each row of a scene's picture; empty where none is known."""
    try:
        return "; ".join(map(_view_text, row.metrics.get("picture_views", ())))
    except (TypeError, ValueError, KeyError):  # another trainer means something else by it
        return ""


def _view_text(view: Mapping[str, Any]) -> str:
    psnr = view["psnr"]
    number = "" if psnr is None else f": {psnr:.1f} dB"
    return f"camera {view['camera']}, frame {view['frame']}{number}"


def _animations(row: Row) -> SideBySide:
    psnr = row.numbers.get("psnr")
    title = row.scene if psnr is None else f"{row.scene}, PSNR {psnr:.1f} dB"
    animations = (
        Picture(path, kind.replace("_", "-"), ANIMATIONS.get(kind, ""), is_animation=True)
        for kind, path in row.animations.items()
    )
    return SideBySide(title, tuple(animations))
