"""The table of --status: a line for each scene, other jobs, counts, and an estimate of the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from preprocess.faults import counted
from training.configuration.run_modes import RUN_MODES
from training.display.durations import clock, estimate
from training.jobs.experiment_jobs import StageJob
from training.jobs.status import WAITING, Snapshot
from training.records.scene_state import SceneState, State, code_versions
from training.report.failures import MOST_FAILURES, failure_lines
from training.slurm.bad_nodes import avoided_text
from training.system.colours import painted
from training.system.scene_log import loss_text, position_text
from training.system.text_table import TextColumn, fit, shortened, terminal_width

LONGEST_CAUSE = 60
LONGEST_CAUSE_OF_A_NARROW_TABLE = 24
NARROW = 120
"""Columns of a terminal."""


@dataclass(frozen=True)
class Column:
    """A column of the table of scenes."""

    heading: str
    cell: Callable[[SceneState], str]
    leaves: int = 0
    """Which columns a narrow terminal leaves out first: the highest; those with 0 always stay."""
    meaning: Callable[[str], str] | None = None


def _all_attempts(each: SceneState) -> str:
    return clock(each.all_attempts_s) if len(each.attempts) > 1 else ""


COLUMNS = (
    Column("scene", lambda each: each.scene),
    Column("state", lambda each: each.state, meaning=lambda text: text),
    Column("progress", lambda each: position_text(each.progress), 1),
    Column("cause", lambda each: each.cause, 2),
    Column("loss", lambda each: loss_text(each.progress).removeprefix("loss "), 8),
    Column("attempts", lambda each: str(len(each.attempts) or ""), 5),
    Column("time", lambda each: _clock(each.last_attempt_s), 3),
    Column("all attempts", _all_attempts, 6),
    Column("node", lambda each: each.node, 7),
    Column("job", lambda each: each.job_id, 4),
    Column("log", lambda each: str(each.log) if each.attempts else "", 9),
)
"""`time` is that of the last attempt, which may be running; `all attempts` of all that were."""
STAGES = ("stage", "experiment", "scenes", "after")
LEAVES_OF_STAGES = (0, 2, 1, 3)


def render_all(
    snapshots: Sequence[Snapshot], most_scenes: int | None = None, width: int | None = None
) -> str:
    """Return the table of an experiment, or one for each of its training, generation, evaluation.

    By default they are as wide as the terminal. Of a loop a line for each stage, and below them the
    tables of stages that are neither done nor yet to come.
    """
    width = width or terminal_width()
    if len(snapshots) == 1:
        return render(snapshots[0], most_scenes, width)
    if not any(each.experiment.stage for each in snapshots):
        tables = [f"{_activity(each)}\n{render(each, most_scenes, width)}" for each in snapshots]
        return "\n\n".join(tables)
    shown = [each for each in snapshots if not each.is_complete and _has_begun(each)]
    tables = [f"\nstage {_stage_of(each)}\n{render(each, most_scenes, width)}" for each in shown]
    cells = zip(*map(_stage_cells, snapshots), strict=True)
    columns = [
        TextColumn(heading, column, leaves)
        for heading, leaves, column in zip(STAGES, LEAVES_OF_STAGES, cells, strict=True)
    ]
    table = fit(columns, width)
    return "\n".join([*table.lines, *table.note, *tables])


def _activity(snapshot: Snapshot) -> str:
    """Return what an experiment's run mode does: `training`, `generating DiFix data`."""
    output_subdir = snapshot.experiment.output_subdir
    modes = [mode for mode in RUN_MODES.values() if not mode.is_for_experiment]
    return next((mode.activity for mode in modes if mode.output_subdir == output_subdir), "")


def _has_begun(snapshot: Snapshot) -> bool:
    return any(each.state != "not started" and each.cause != WAITING for each in snapshot.scenes)


def _stage_of(snapshot: Snapshot) -> str:
    """Return the name of a loop's stage, of anything else what it does."""
    stage = snapshot.experiment.stage
    return stage.name if stage else _activity(snapshot)


def _stage_cells(snapshot: Snapshot) -> tuple[str, ...]:
    stage = snapshot.experiment.stage
    merge = f"; aggregate {snapshot.aggregate.state_and_cause}" if snapshot.aggregate else ""
    return (
        _stage_of(snapshot),
        snapshot.experiment.name,
        f"{_states_of(snapshot)}{merge}",
        " and ".join(stage.after) if stage else "",
    )


def render(snapshot: Snapshot, most_scenes: int | None = None, width: int | None = None) -> str:
    """Return the table; of more than `most_scenes` scenes, those that a person looks for first."""
    scenes = snapshot.scenes if most_scenes is None else _first(snapshot, most_scenes)
    left_out = len(snapshot.scenes) - len(scenes)
    more = [f"… and {counted(left_out, 'more scene')}"] if left_out else []
    table = fit([_text_column(column, scenes, width) for column in COLUMNS], width)
    failures = failure_lines(snapshot.scenes, MOST_FAILURES if most_scenes is None else 1)
    failures += [""] * bool(failures)
    below = [*_jobs(snapshot.queue.jobs), *failures, *_counts(snapshot)]
    return "\n".join([*table.lines, *more, *table.note, "", *below])


def _text_column(column: Column, scenes: Sequence[SceneState], width: int | None) -> TextColumn:
    longest = LONGEST_CAUSE_OF_A_NARROW_TABLE if width and width < NARROW else LONGEST_CAUSE
    cells = [column.cell(each) for each in scenes]
    if column.heading == "cause":
        cells = [shortened(each, longest) for each in cells]
    return TextColumn(column.heading, cells, column.leaves, column.meaning)


def _first(snapshot: Snapshot, most: int) -> list[SceneState]:
    """Choose scenes in the order of `State`: running ones first, done ones last."""
    ranks = {state: rank for rank, state in enumerate(get_args(State))}
    chosen = sorted(snapshot.scenes, key=lambda each: ranks[each.state])[: max(1, most)]
    return sorted(chosen, key=lambda each: each.scene)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else clock(seconds)


def _jobs(jobs: Iterable[StageJob]) -> list[str]:
    """Return a line for jobs that train no single scene: a flow's workers, probe, aggregate.

    The controller's has a line of its own.
    """
    groups: dict[str, list[str]] = {}
    for each in jobs:
        if each.stage not in {"array", "controller"}:
            reason = f" ({each.job.reason})" if each.job.is_pending else ""
            where = f" on {each.job.node}" if each.job.node else ""
            group = groups.setdefault(f"{each.stage}: {each.job.state}{reason}", [])
            group.append(f"{each.job.job_id}{where}")
    lines = [f"{title}, job {', '.join(ids)}" for title, ids in groups.items()]
    return [*lines, ""] if lines else []


def _states_of(snapshot: Snapshot) -> str:
    found = Counter(each.state for each in snapshot.scenes)
    shown = [state for state in get_args(State) if found[state]]
    return ", ".join(f"{found[state]} {painted(state, state)}" for state in shown)


def _counts(snapshot: Snapshot) -> list[str]:
    counts = _states_of(snapshot)
    name, total = snapshot.experiment.name, len(snapshot.scenes)
    lines = [f"experiment {name}, {counted(total, 'scene')}: {counts}"]
    if snapshot.controller:
        lines.append(f"controller: {snapshot.controller}")
    if snapshot.aggregate:
        lines.append(f"aggregate: {snapshot.aggregate}")
        lines += [f"data: {snapshot.aggregate.output}"] if snapshot.aggregate.output else []
    lines += _estimate(snapshot)
    versions = code_versions(snapshot.scenes)
    if len(versions) > 1:
        lines.append(f"trained by {len(versions)} versions of the code: {', '.join(versions)}")
    warning = painted("warning", "warning")
    lines += [f"{warning}: {each}" for each in snapshot.experiment.warnings]
    if avoided := avoided_text(snapshot.bad_nodes):
        lines.append(f"{warning}: {avoided}")
    if snapshot.queue.unknown:
        lines.append(f"by the records alone, since Slurm does not answer: {snapshot.queue.unknown}")
    return lines


def _estimate(snapshot: Snapshot) -> list[str]:
    left = snapshot.seconds_left
    return [] if left is None else [estimate(left)]
