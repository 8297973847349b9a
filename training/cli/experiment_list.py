"""The experiments of a result root: `--status` without `--exp-name`, and `experiments`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict

from preprocess.faults import unusable_paths_refused
from training.cli.parser import parse_options, reporting_faults
from training.jobs.status import Snapshot, survey
from training.plan.experiments import all_experiments
from training.plan.options import LaunchOptions, flag_of
from training.records.scene_state import State
from training.system.console import say
from training.system.exit_status import DONE, FAILED, GOING_ON
from training.system.paths import Roots, resolve_roots
from training.system.text_table import TextColumn, fit, terminal_width
from training.system.typed_command import spelled

MOST_ENDED = 5
"""Experiments that have ended which `--status` shows below those that go on."""
DESCRIPTION = "List the experiments of the result root, those that go on first."


class ListOptions(BaseModel):
    """Where experiments are looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    results_root: Annotated[str, flag_of("results_root", LaunchOptions)] = ""
    """Where results are (TS_RESULTS_ROOT)."""

    state_root: Annotated[str, flag_of("state_root", LaunchOptions)] = ""
    """Where plans are (TS_STATE_ROOT)."""


def list_experiments(argv: Sequence[str], prog: str, most_ended: int | None = None) -> int:
    """Print the experiments and return 3 if one goes on, 1 if nobody can tell, else 0.

    `most_ended`: how many of those that have ended are shown; None for all. Raises FaultsError
    for wrong options.
    """
    options = parse_options(argv, ListOptions, prog, DESCRIPTION)
    roots = resolve_roots(options.model_dump())
    with unusable_paths_refused():
        snapshots = survey(all_experiments(roots))
    say(render(snapshots, roots, most_ended))
    if any(each.is_active for each in snapshots):
        return GOING_ON
    return FAILED if any(each.experiment.warnings for each in snapshots) else DONE


def command(argv: Sequence[str]) -> int:
    """List all experiments; return the exit status."""
    return reporting_faults(lambda: list_experiments(argv, spelled("experiments")))


def render(snapshots: Sequence[Snapshot], roots: Roots, most_ended: int | None = None) -> str:
    """Return the table: those that go on first, then the ended ones, newest first."""
    if not snapshots:
        return f"no experiment in {roots.results_root}"
    newest = sorted(snapshots, key=last_change, reverse=True)
    active = [each for each in newest if each.is_active]
    ended = [each for each in newest if not each.is_active]
    shown = [*active, *ended[:most_ended]]
    left_out = len(newest) - len(shown)
    more = [f"… and {left_out} more that have ended ({spelled('experiments')})"]
    lines = [*_table(shown), *(more if left_out else [])]
    warnings = dict.fromkeys(line for each in snapshots for line in each.experiment.warnings)
    lines += [f"warning: {each}" for each in warnings]
    unknown = dict.fromkeys(each.queue.unknown for each in snapshots if each.queue.unknown)
    lines += [f"by the records alone, since Slurm does not answer: {each}" for each in unknown]
    return "\n".join(lines)


def last_change(snapshot: Snapshot) -> float:
    """Return when an attempt last began or ended, or else the plan was made; seconds since 1970.

    0 for an experiment of which neither is known.
    """
    moments: list[datetime] = [plan.created for plan in snapshot.experiment.plans]
    for scene in snapshot.scenes:
        moments += [attempt.end or attempt.start for attempt in scene.attempts]
    return max((moment.timestamp() for moment in moments), default=0.0)


def _table(snapshots: Sequence[Snapshot]) -> list[str]:
    """Return a line for each experiment; states that no scene of any is in have no column."""
    counts = [Counter(scene.state for scene in each.scenes) for each in snapshots]
    states = list(dict.fromkeys(("done", "failed", "running", *get_args(State))))
    columns = [
        TextColumn("experiment", [each.experiment.name for each in snapshots]),
        TextColumn("scenes", [str(len(each.scenes)) for each in snapshots], len(states) + 1),
        *(
            TextColumn(state, [str(count[state] or "") for count in counts], number)
            for number, state in enumerate(states)
        ),
        TextColumn("last change", [_local(last_change(each)) for each in snapshots], len(states)),
    ]
    table = fit(columns, terminal_width())
    return [*table.lines, *table.note]


def _local(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M}" if moment else ""
