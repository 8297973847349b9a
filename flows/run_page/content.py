"""The texts of a flow run in Prefect's UI: its progress, its table of scenes, lines of its log."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from flows.run_page.page_state import Started
from preprocess.faults import counted
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.scene_state import seconds_left
from training.report.html import UNPRINTABLE
from training.report.markdown import escaped
from training.report.metrics import Column, used_columns
from training.report.scene_rows import Row
from training.report.tables import duration
from training.system.console import COLOUR
from training.system.numbers import is_number
from training.system.paths import Roots
from training.system.scene_log import last_lines, latest_progress, progress_text

EVERY_S = 30.0
BAR_WIDTH = 40
MOST_ROWS = 200
"""Lines of the table of scenes, which is sent whole at each refresh; those not done come first."""
MOST_NAMED = 12
LONGEST_CAUSE = 60
LOG_LINES = 20
REPLACED = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class RunFacts:
    """What the texts say of a run as a whole."""

    exp_name: str
    parallelism: int
    on_gpus: bool
    """Whether a scene has a GPU alone, so that its hours are a GPU's."""
    on_slurm: bool = False

    @classmethod
    def of(cls, plan: Plan) -> RunFacts:
        """Take them from the plan."""
        at_once = plan.slurm.parallelism if plan.slurm else plan.workers
        on_gpus = bool(plan.slurm or plan.gpus) and plan.scenes_per_gpu == 1
        return cls(plan.exp_name, at_once, on_gpus, plan.slurm is not None)

    def shown(self, state: str) -> str:
        """Return a state as people call it: on one machine there is no queue to be in."""
        return "waiting" if state == "queued" and not self.on_slurm else state


def artifact_key(roots: Roots, exp_name: str, output_subdir: str, kind: str) -> str:
    """Return the key of an artifact: `my-exp-scenes-1a2b3c4d`.

    Keys take lowercase letters, digits and dashes only, and are shared by all users of a server:
    the hash tells apart what the words do not, such as the same name in other result roots.
    """
    whole = "\0".join([str(roots.results_root), exp_name, output_subdir])
    number = hashlib.sha256(whole.encode("utf-8", errors="surrogateescape")).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "-", f"{exp_name} {output_subdir}".lower())[:80].strip("-")
    return f"{words}-{kind}-{number}".lstrip("-")


def progress(
    facts: RunFacts,
    rows: Sequence[Row],
    moment: datetime,
    end: str = "",
    links: Mapping[str, str] | None = None,
) -> str:
    """Return counts, a bar, an estimate of the end and what runs as Markdown.

    `end` says how the run ended; `links` are the addresses of the scenes' own pages.
    """
    found: Counter[str] = Counter(row.state for row in rows)
    total = len(rows)
    head = ["done", "running", "queued", "failed"]
    head += [state for state in ("cancelled", "not started") if found[state]]
    lines = [
        f"## {escaped(facts.exp_name)}: {found['done']} of {counted(total, 'scene')} done",
        "",
        _bar(found["done"], found["failed"] + found["cancelled"], total),
        "",
        f"| {' | '.join(map(facts.shown, head))} |",
        "| ---: " * len(head) + "|",
        f"| {' | '.join(str(found[state]) for state in head)} |",
        "",
        f"**{escaped(end)}**" if end else _estimate(facts, rows, moment),
    ]
    lines += _names("failed", [row for row in rows if row.state == "failed"], links or {})
    lines += _running([row for row in rows if row.state == "running"], links or {})
    refreshed = "" if end else f", refreshed every {EVERY_S:.0f} s"
    return clean("\n".join([*lines, "", f"As of {moment:%Y-%m-%d %H:%M:%S} UTC{refreshed}."]))


def _bar(done: int, failed: int, total: int) -> str:
    """Return a bar of what is done, failed and left, with a legend where something has failed."""
    full, bad = (round(BAR_WIDTH * number / max(1, total)) for number in (done, failed))
    bad = min(max(bad, failed > 0), BAR_WIDTH - full)
    percent = 100 * done // max(1, total)
    bar = f"`{'█' * full}{'✕' * bad}{'░' * (BAR_WIDTH - full - bad)}` {percent} %"
    return f"{bar} (█ done, ✕ failed or cancelled, ░ left)" if failed else bar


def _estimate(facts: RunFacts, rows: Sequence[Row], moment: datetime) -> str:
    left = seconds_left(rows, facts.parallelism)
    if left is None:
        return "No estimate of the end before a scene is done."
    until = moment + timedelta(seconds=left)
    day = "" if until.date() == moment.date() else f"{until:%Y-%m-%d} "
    about = f"About {duration(left)} left, until {day}{until:%H:%M} UTC"
    return f"{about}, if all take as long as the done."


def _names(state: str, rows: Sequence[Row], links: Mapping[str, str]) -> list[str]:
    names = [_linked(row.scene, links) for row in rows[:MOST_NAMED]]
    return ["", f"{state}: {', '.join([*names, *_more(rows)])}"] if names else []


def _running(rows: Sequence[Row], links: Mapping[str, str]) -> list[str]:
    """Return a table of running scenes with what their trainers last said of epoch and loss."""
    if not rows:
        return []
    lines = [
        f"| {_linked(row.scene, links)} | {escaped(_progress_of(row))} "
        f"| {'' if row.elapsed_s is None else duration(row.elapsed_s)} |"
        for row in rows[:MOST_NAMED]
    ]
    return ["", "| running | progress | for |", "| --- | --- | ---: |", *lines, "", *_more(rows)]


def _progress_of(row: Row) -> str:
    said = latest_progress(row.log)
    return progress_text(said) if said else ""


def _linked(scene: str, links: Mapping[str, str]) -> str:
    return f"[{escaped(scene)}]({links[scene]})" if links.get(scene) else escaped(scene)


def _more(rows: Sequence[Row]) -> list[str]:
    return [f"{len(rows) - MOST_NAMED} more"] if len(rows) > MOST_NAMED else []


def table(facts: RunFacts, rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return the cells of the first scenes by heading; columns that would be empty are left out.

    Cells are plain text, as Prefect's UI shows them; its first version reads them as Markdown. A
    last line says how many scenes are left out, and where they are.
    """
    shown = rows[:MOST_ROWS]
    columns = used_columns((row.numbers for row in shown), "run page")
    lines = [_cells(facts, row, columns) for row in shown]
    used = {name for line in lines for name, text in line.items() if text}
    table = [{name: text for name, text in line.items() if name in used} for line in lines]
    if left := len(rows) - len(shown):
        names = dict.fromkeys(table[0], "")
        where = "all are in --status and, when the run is over, in metrics.csv beside the report"
        table.append({**names, "scene": f"… and {left:,} more", "state": where})
    return table


def _cells(facts: RunFacts, row: Row, columns: Sequence[Column]) -> dict[str, str]:
    hours = "GPU-hours" if facts.on_gpus else "hours"
    attempts = len(row.attempts)
    cells = {
        "scene": row.scene,
        "state": facts.shown(row.state),
        "attempts": str(attempts or ""),
        "duration": "" if row.elapsed_s is None else duration(row.elapsed_s),
        hours: f"{row.total_s / 3600:.2f}" if attempts else "",
        **{column.heading: column.text(row.numbers.get(column.key)) for column in columns},
        "cause": _shortened(": ".join(filter(None, [row.cause, row.message]))),
        "job": row.job_id,
        "node": row.node,
        "log": str(row.log) if attempts else "",
    }
    return {name: " ".join(clean(text).split()) for name, text in cells.items()}


def _shortened(text: str) -> str:
    """Return what leaves room for other columns; the run's log and the report have the rest."""
    return text if len(text) <= LONGEST_CAUSE else f"{text[: LONGEST_CAUSE - 1]}…"


def started_line(event: Started) -> str:
    """Return the run's log line for an attempt's start."""
    number = f", attempt {event.attempt}" if event.attempt > 1 else ""
    place = f" in {event.location}" if event.location else ""
    return clean(f"{event.scene.name}: started{number}{place}, log {event.scene.log}")


def ended_line(scene: ScenePlan, outcome: Outcome) -> str:
    """Return the run's log line for an attempt's end, of a failure with its log's last lines."""
    psnr = outcome.metrics.get("psnr") if outcome.status == "done" else None
    result = f", PSNR {psnr:.2f} dB" if is_number(psnr) else ""
    took = f" after {duration(outcome.seconds)}" if outcome.seconds else ""
    line = f"{str(outcome).replace(scene.name, f'{scene.name}:', 1)}{result}{took}"
    if outcome.status != "failed":
        return clean(line)
    lines = [f"    | {each}" for each in last_lines(Path(outcome.log), LOG_LINES)]
    return clean("\n".join([f"{line}, log {outcome.log}", *lines]))


def clean(text: str) -> str:
    """Return text without a terminal's colours, and without what JSON or a database refuse."""
    return UNPRINTABLE.sub(REPLACED, COLOUR.sub("", text))
