"""The page of one scene in Prefect's UI: how it ended, its numbers, its picture, its log's end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from flows.run_page.content import clean
from flows.run_page.report_artifact import thumbnails
from training.plan.model import ScenePlan
from training.report.markdown import escaped
from training.report.metrics import used_columns
from training.report.plots.thumbnails import data_uri
from training.report.scene_rows import Row
from training.report.tables import duration
from training.system.scene_log import last_lines

LOG_LINES = 30
LONGEST_LINE = 300
PICTURE_SIZE = 120_000
"""Characters of a scene's picture."""
ANIMATION_BYTES = 150_000
"""The largest animation that is embedded; Markdown has it as base64, a third longer."""
MOST_ANIMATIONS = 2
"""How many are embedded: another trainer may have written any number."""


def scene_page(scene: ScenePlan, row: Row) -> str:
    """Return the text of a scene that has ended, below 600 kB."""
    heading = [f"# {escaped(scene.name)}: {escaped(row.state_and_cause)}", ""]
    lines = [*heading, *_message(row), *_numbers(row), *_pictures(row), *_log(scene)]
    return clean("\n".join([*lines, f"Outputs: {escaped(str(scene.output))}"]))


def _message(row: Row) -> list[str]:
    return [escaped(row.message), ""] if row.message else []


def _numbers(row: Row) -> list[str]:
    took = {} if row.elapsed_s is None else {"duration": duration(row.elapsed_s)}
    attempts = {"attempts": str(len(row.attempts))} if len(row.attempts) > 1 else {}
    columns = used_columns([row.numbers], "run page")
    measured = {each.heading: each.text(row.numbers.get(each.key)) for each in columns}
    cells = {**measured, **took, **attempts}
    if not cells:
        return []
    return [
        f"| {' | '.join(cells)} |",
        "| ---: " * len(cells) + "|",
        f"| {' | '.join(map(escaped, cells.values()))} |",
        "",
    ]


def _pictures(row: Row) -> Iterator[str]:
    """Yield the comparison, and the animations that are small enough to embed."""
    if row.picture and (uri := thumbnails(PICTURE_SIZE)(row.picture)):
        yield from (f"![target, before, after]({uri})", "")
    for kind, path in islice(row.animations.items(), MOST_ANIMATIONS):
        if uri := _animation(path):
            yield from (f"![{escaped(kind)}]({uri})", "")


def _animation(path: Path) -> str:
    try:
        if path.stat().st_size <= ANIMATION_BYTES:
            return data_uri("image/webp", path.read_bytes())
    except OSError:
        return ""
    return ""


def _log(scene: ScenePlan) -> list[str]:
    """Return the end of the log, indented: a block of code that no line of it can end."""
    lines = [each[:LONGEST_LINE] for each in last_lines(scene.log, LOG_LINES)]
    if not lines:
        return []
    return [
        f"The end of {escaped(str(scene.log))}:",
        "",
        *(f"    {line}" for line in lines),
        "",
    ]
