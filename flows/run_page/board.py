"""How the scenes of one flow run stand, kept in memory: records are not read over and over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.record import Cause
from training.records.retry_policy import should_retry
from training.records.scene_state import KILLED, SceneState, State
from training.report.metrics import shown
from training.report.scene_rows import Row
from training.slurm.job_states import JobLocation

HELD = "held by another run"
STOPPING = "is being stopped"
ORDER: tuple[State, ...] = ("failed", "cancelled", "running", "queued", "not started", "done")


@dataclass(frozen=True)
class Started:
    """An attempt has started, in a Slurm job or (`location` None) on this machine."""

    scene: ScenePlan
    attempt: int
    location: JobLocation | None
    at: datetime


@dataclass(frozen=True)
class Ended:
    """The end of a start."""

    scene: ScenePlan
    outcome: Outcome


@dataclass(frozen=True)
class Standing(SceneState):
    """One scene, as the run page shows it."""

    total_s: float = 0.0
    """Of all its attempts."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Its metrics, as `training.report.metrics` chooses them."""


class RunPageState:
    """What one flow run knows of its scenes: their rows as read at its start, and what it was told.

    For one thread.
    """

    def __init__(self, plan: Plan, rows: Mapping[str, Row], host: str) -> None:
        self._plan, self._host = plan, host
        self._rows = dict(rows)
        self._attempts: dict[str, int] = {}
        self._running: dict[str, Started] = {}
        self._ended: dict[str, Outcome] = {}

    def started(self, event: Started) -> None:
        """A scene has started."""
        name = event.scene.name
        self._running[name] = event
        self._attempts[name] = event.attempt
        self._ended.pop(name, None)

    def ended(self, event: Ended, row: Row) -> None:
        """A start has ended; `row` is what the scene's record says now."""
        name = event.scene.name
        self._running.pop(name, None)
        self._rows[name] = row
        if not self._should_retry(event.outcome):
            self._ended[name] = event.outcome

    def replace(self, rows: Mapping[str, Row]) -> None:
        """The flow is at its end: what some records say now."""
        self._rows.update(rows)

    @property
    def rows(self) -> list[Row]:
        """Of all chosen scenes, for the report."""
        return [self._rows[scene.name] for scene in self._plan.scenes]

    @property
    def unreconciled(self) -> list[ScenePlan]:
        """The scenes that were to run and whose record was not read after their last end."""
        return [scene for scene in self._plan.of("run") if not self._is_settled(scene.name)]

    def standings(self, moment: datetime, *, over: bool = False) -> list[Standing]:
        """All chosen scenes, those that a person looks for first at the top.

        `over`: nothing runs or waits any more, and the rows decide.
        """
        found = [self._standing(scene, moment, over=over) for scene in self._plan.scenes]
        return sorted(found, key=lambda each: ORDER.index(each.state))

    def _should_retry(self, outcome: Outcome) -> bool:
        attempt, limit = self._attempts.get(outcome.scene, 1), self._plan.max_retries
        return outcome.cause is not None and should_retry(
            outcome.cause, attempt, limit, outcome.has_checkpoint
        )

    def _is_settled(self, name: str) -> bool:
        row = self._rows[name]
        return name in self._ended and row.status != "running" and row.cause != KILLED

    def _standing(self, scene: ScenePlan, moment: datetime, *, over: bool) -> Standing:
        if not over and scene.name in self._running:
            return self._in_progress(self._running[scene.name], moment)
        if scene.action == "run" and scene.name not in self._ended:
            return self._left(scene) if over else self._put(scene, "queued")
        if scene.action == "held" and not self._rows[scene.name].is_done:
            return self._put(scene, "not started", HELD, scene.reason)
        return self._at_rest(scene)

    def _in_progress(self, start: Started, moment: datetime) -> Standing:
        row = self._rows[start.scene.name]
        elapsed_s = max(0.0, (moment - start.at).total_seconds())
        return Standing(
            scene=start.scene.name,
            state="running",
            log=start.scene.log,
            attempt=row.attempts + 1,
            node=(start.location.node if start.location else "") or self._host,
            job_id=start.location.job_id if start.location else "",
            elapsed_s=elapsed_s,
            total_s=row.seconds + elapsed_s,
        )

    def _left(self, scene: ScenePlan) -> Standing:
        """At the flow's end, a scene of which no end was told."""
        row = self._rows[scene.name]
        if row.last is None or row.last.start < self._plan.created:
            return self._put(scene, "not started")
        if row.status == "running" and self._plan.cancelled.exists():
            return self._put(scene, "cancelled", STOPPING)
        return self._at_rest(scene)

    def _at_rest(self, scene: ScenePlan) -> Standing:
        row, outcome = self._rows[scene.name], self._ended.get(scene.name)
        if outcome and outcome.status == "held":
            return self._put(scene, "not started", HELD, outcome.message)
        if outcome and not self._is_settled(scene.name):
            cause = "" if outcome.cause in {None, Cause.CANCELLED} else str(outcome.cause)
            return self._put(scene, _state(outcome.status), cause, outcome.message)
        cause = row.cause if row.status != "done" else ""
        return self._put(scene, _state(row.status), cause, row.message)

    def _put(self, scene: ScenePlan, state: State, cause: str = "", message: str = "") -> Standing:
        """A scene that does not run; where and how long it ran is of attempts that have ended."""
        row = self._rows[scene.name]
        waits = state in {"queued", "not started"}
        return Standing(
            scene=scene.name,
            state=state,
            log=scene.log,
            cause=cause,
            attempt=row.attempts,
            node="" if waits or not row.last else row.last.host,
            job_id="" if waits or not row.last else row.last.slurm_job_id,
            elapsed_s=row.seconds if row.attempts and not waits else None,
            message=message,
            total_s=row.seconds,
            numbers=shown(row) if state == "done" else {},
        )


def _state(status: str) -> State:
    """Of what is known no better, a failure: unknown is never success."""
    known: dict[str, State] = {state: state for state in get_args(State)}
    return known.get(status, "failed")
