"""The table of --status: a line for each scene, other jobs, counts, and an estimate of the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

from training.configuration.run_modes import RUN_MODES
from training.display.durations import clock, estimate
from training.jobs.experiment_jobs import StageJob
from training.jobs.status import WAITING, Snapshot
from training.records.scene_state import SceneState, State, code_versions

HEADINGS = ("scene", "state", "cause", "attempt", "node", "job", "elapsed", "log")
STAGE_HEADINGS = ("stage", "experiment", "scenes", "after")
MOST_CAUSE = 60
MOST_FAILURES = 5
"""Failed scenes shown with their messages; hundreds mostly fail for one reason."""


def render_all(snapshots: Sequence[Snapshot], most_scenes: int | None = None) -> str:
    """Return the table of an experiment, or one for each of its training, generation, evaluation.

    Of a loop a line for each stage, and below them the tables of stages that are neither done nor
    yet to come.
    """
    if len(snapshots) == 1:
        return render(snapshots[0], most_scenes)
    if not any(plan.stage for each in snapshots for plan in each.experiment.plans[:1]):
        tables = [f"{_activity(each)}\n{render(each, most_scenes)}" for each in snapshots]
        return "\n\n".join(tables)
    shown = [each for each in snapshots if not each.is_complete and _has_begun(each)]
    tables = [f"\nstage {_stage_of(each)}\n{render(each, most_scenes)}" for each in shown]
    return "\n".join([*aligned([STAGE_HEADINGS, *map(_stage_cells, snapshots)]), *tables])


def _activity(snapshot: Snapshot) -> str:
    """Return what an experiment's run mode does: `training`, `generating DiFix data`."""
    output_subdir = snapshot.experiment.output_subdir
    modes = [mode for mode in RUN_MODES.values() if not mode.is_for_experiment]
    return next((mode.activity for mode in modes if mode.output_subdir == output_subdir), "")


def _has_begun(snapshot: Snapshot) -> bool:
    return any(each.state != "not started" and each.cause != WAITING for each in snapshot.scenes)


def _stage_of(snapshot: Snapshot) -> str:
    plans = snapshot.experiment.plans
    return plans[0].stage.name if plans and plans[0].stage else snapshot.experiment.name


def _stage_cells(snapshot: Snapshot) -> tuple[str, ...]:
    plans = snapshot.experiment.plans
    after = plans[0].stage.after if plans and plans[0].stage else ()
    merge = f"; aggregate {snapshot.aggregate.state_and_cause}" if snapshot.aggregate else ""
    return (
        _stage_of(snapshot),
        snapshot.experiment.name,
        f"{_states_of(snapshot)}{merge}",
        " and ".join(after),
    )


def render(snapshot: Snapshot, most_scenes: int | None = None) -> str:
    """Return the table; of more than `most_scenes` scenes, those that a person looks for first."""
    scenes = snapshot.scenes if most_scenes is None else _first(snapshot, most_scenes)
    left_out = len(snapshot.scenes) - len(scenes)
    more = [f"… and {left_out} more scenes"] if left_out else []
    table = aligned([HEADINGS, *map(_cells, scenes)])
    failures = _failures(snapshot, MOST_FAILURES if most_scenes is None else 1)
    below = [*_jobs(snapshot.queue.jobs), *failures, *_counts(snapshot)]
    return "\n".join([*table, *more, "", *below])


def _first(snapshot: Snapshot, most: int) -> list[SceneState]:
    """Choose scenes in the order of `State`: running ones first, done ones last."""
    ranks = {state: rank for rank, state in enumerate(get_args(State))}
    chosen = sorted(snapshot.scenes, key=lambda each: ranks[each.state])[: max(1, most)]
    return sorted(chosen, key=lambda each: each.scene)


def _cells(each: SceneState) -> tuple[str, ...]:
    return (
        each.scene,
        each.state,
        each.cause[:MOST_CAUSE],
        str(len(each.attempts) or ""),
        each.node,
        each.job_id,
        "" if each.elapsed_s is None else clock(each.elapsed_s),
        str(each.log) if each.attempts else "",
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns begin at the same places."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _jobs(jobs: Iterable[StageJob]) -> list[str]:
    """Return a line for jobs that train no single scene: a flow's workers, probe, aggregate."""
    groups: dict[str, list[str]] = {}
    for each in jobs:
        if each.stage != "array":
            reason = f" ({each.job.reason})" if each.job.is_pending else ""
            where = f" on {each.job.node}" if each.job.node else ""
            group = groups.setdefault(f"{each.stage}: {each.job.state}{reason}", [])
            group.append(f"{each.job.job_id}{where}")
    lines = [f"{title}, job {', '.join(ids)}" for title, ids in groups.items()]
    return [*lines, ""] if lines else []


def _failures(snapshot: Snapshot, most: int) -> list[str]:
    """Return why scenes failed, as their records say."""
    failed = [each for each in snapshot.of("failed") if each.message]
    lines = [f"{each.scene}: {each.message}" for each in failed[:most]]
    lines += [f"… and {len(failed) - most} more failed"] if len(failed) > most else []
    return [*lines, ""] if lines else []


def _states_of(snapshot: Snapshot) -> str:
    found = Counter(each.state for each in snapshot.scenes)
    return ", ".join(f"{found[state]} {state}" for state in get_args(State) if found[state])


def _counts(snapshot: Snapshot) -> list[str]:
    counts = _states_of(snapshot)
    name, total = snapshot.experiment.name, len(snapshot.scenes)
    lines = [f"experiment {name}, {total} scene{'s'[: total != 1]}: {counts}"]
    if snapshot.aggregate:
        lines.append(f"aggregate: {snapshot.aggregate}")
        lines += [f"data: {snapshot.aggregate.output}"] if snapshot.aggregate.output else []
    lines += _estimate(snapshot)
    versions = code_versions(snapshot.scenes)
    if len(versions) > 1:
        lines.append(f"trained by {len(versions)} versions of the code: {', '.join(versions)}")
    lines += [f"warning: {warning}" for warning in snapshot.experiment.warnings]
    if snapshot.queue.unknown:
        lines.append(f"by the records alone, since Slurm does not answer: {snapshot.queue.unknown}")
    return lines


def _estimate(snapshot: Snapshot) -> list[str]:
    left = snapshot.seconds_left
    return [] if left is None else [f"{estimate(left)}, if all take as long as the done ones"]
