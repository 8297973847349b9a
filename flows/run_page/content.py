"""What the page of a flow run says in Prefect's UI: progress, table of scenes, log lines."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from flows.run_page.board import Standing, Started
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.scene_state import seconds_left
from training.report.markdown import escaped
from training.report.metrics import METRICS
from training.report.page import UNPRINTABLE
from training.report.scene_rows import COLOURING, is_number
from training.report.tables import duration
from training.system.paths import Roots
from training.system.scene_log import last_lines

EVERY_S = 30.0
BAR = 40
MOST_NAMED = 12
LONGEST_CAUSE = 120
LOG_LINES = 20
IN_TABLE = [each for each in METRICS if each.key in {"psnr", "ssim", "samples", "dropped"}]
REPLACED = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Facts:
    """What is the same for all scenes of a run."""

    exp_name: str
    parallelism: int
    on_gpus: bool

    @classmethod
    def of(cls, plan: Plan) -> Facts:
        """What a plan says."""
        at_once = plan.slurm.parallelism if plan.slurm else plan.workers
        on_gpus = bool(plan.slurm or plan.gpus)
        return cls(plan.exp_name, at_once, on_gpus)


def key(roots: Roots, exp_name: str, output_subdir: str, kind: str) -> str:
    """An artifact's key: `my-exp-scenes-1a2b3c4d`.

    Keys take lowercase letters, digits and dashes only, and are shared by all users of a server:
    the number tells apart what the words do not, such as the same name in other result roots.
    """
    whole = "\0".join([str(roots.results_root), exp_name, output_subdir])
    number = hashlib.sha256(whole.encode("utf-8", errors="surrogateescape")).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "-", f"{exp_name} {output_subdir}".lower())[:80].strip("-")
    return f"{words}-{kind}-{number}".lstrip("-")


def progress(facts: Facts, scenes: Sequence[Standing], moment: datetime, end: str = "") -> str:
    """Counts, a bar and an estimate of the end, as Markdown; `end` is how the run has ended."""
    found: Counter[str] = Counter(each.state for each in scenes)
    total = len(scenes)
    head = ["done", "running", "queued", "failed", *_also(found)]
    lines = [
        f"## {escaped(facts.exp_name)}: {found['done']} of {total} scenes done",
        "",
        _bar(found["done"], found["failed"] + found["cancelled"], total),
        "",
        f"| {' | '.join(head)} |",
        "| ---: " * len(head) + "|",
        f"| {' | '.join(str(found[state]) for state in head)} |",
        "",
        _end(facts, scenes, moment, end),
    ]
    for state in ("failed", "running"):
        lines += _named(state, [each for each in scenes if each.state == state])
    refreshed = "" if end else f", refreshed every {EVERY_S:.0f} s"
    return clean("\n".join([*lines, "", f"As of {moment:%Y-%m-%d %H:%M:%S} UTC{refreshed}."]))


def _also(found: Counter[str]) -> list[str]:
    """States that are worth a column only where there is one."""
    return [state for state in ("cancelled", "not started") if found[state]]


def _bar(done: int, failed: int, total: int) -> str:
    """`████▒▒░░░░ 40 %`: done, failed, left."""
    full, bad = (round(BAR * number / max(1, total)) for number in (done, failed))
    bad = min(bad, BAR - full)
    percent = 100 * done // max(1, total)
    return f"`{'█' * full}{'▒' * bad}{'░' * (BAR - full - bad)}` {percent} %"


def _end(facts: Facts, scenes: Sequence[Standing], moment: datetime, end: str) -> str:
    if end:
        return f"**{escaped(end)}**"
    left = seconds_left(scenes, facts.parallelism)
    if left is None:
        return "No estimate of the end before a scene is done."
    until = moment + timedelta(seconds=left)
    day = "" if until.date() == moment.date() else f"{until:%Y-%m-%d} "
    about = f"About {duration(left)} left, until {day}{until:%H:%M} UTC"
    return f"{about}, if all take as long as the done."


def _named(state: str, scenes: Sequence[Standing]) -> list[str]:
    names = [escaped(each.scene) for each in scenes[:MOST_NAMED]]
    more = [f"{len(scenes) - MOST_NAMED} more"] if len(scenes) > MOST_NAMED else []
    return ["", f"{state}: {', '.join([*names, *more])}"] if names else []


def table(facts: Facts, scenes: Sequence[Standing]) -> list[dict[str, str]]:
    """A row a scene; columns that would be empty are left out.

    Cells are Markdown: the UI shows them so (its second version, to which it can be switched, as
    plain text).
    """
    rows = [_cells(facts, each) for each in scenes]
    used = {name for row in rows for name, text in row.items() if text}
    return [
        {name: escaped(clean(text)) for name, text in row.items() if name in used} for row in rows
    ]


def _cells(facts: Facts, each: Standing) -> dict[str, str]:
    hours = "GPU-hours" if facts.on_gpus else "hours"
    has_run = bool(each.attempt)
    return {
        "scene": each.scene,
        "state": each.state,
        "cause": _cut(": ".join(filter(None, [each.cause, each.message]))),
        "attempts": str(each.attempt or ""),
        "duration": "" if each.elapsed_s is None else duration(each.elapsed_s),
        hours: f"{each.total_s / 3600:.2f}" if has_run else "",
        **{metric.heading: metric.text(each.numbers.get(metric.key)) for metric in IN_TABLE},
        "job": each.job_id,
        "node": each.node,
        "log": str(each.log) if has_run else "",
    }


def _cut(text: str) -> str:
    """Longer ones push the other columns away; the log and the report have the rest."""
    return text if len(text) <= LONGEST_CAUSE else f"{text[: LONGEST_CAUSE - 1]}…"


def started_line(event: Started) -> str:
    """What a log says of a start."""
    again = f", start {event.attempt}" if event.attempt > 1 else ""
    place = f" in {event.location}" if event.location else ""
    return clean(f"{event.scene.name}: started{again}{place}, log {event.scene.log}")


def ended_line(scene: ScenePlan, outcome: Outcome) -> str:
    """What a log says of an end; of a failure with the last lines of the trainer's log."""
    psnr = outcome.metrics.get("psnr") if outcome.status == "done" else None
    result = f", PSNR {psnr:.2f} dB" if is_number(psnr) else ""
    took = f" after {duration(outcome.seconds)}" if outcome.seconds else ""
    line = f"{str(outcome).replace(scene.name, f'{scene.name}:', 1)}{result}{took}"
    if outcome.status != "failed":
        return clean(line)
    lines = [f"    | {each}" for each in last_lines(Path(outcome.log), LOG_LINES)]
    return clean("\n".join([f"{line}, log {outcome.log}", *lines]))


def clean(text: str) -> str:
    """Without a terminal's colours and what JSON or a database can't hold."""
    return UNPRINTABLE.sub(REPLACED, COLOURING.sub("", text))
