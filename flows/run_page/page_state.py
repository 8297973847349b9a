"""How the scenes of one flow run stand: kept in memory, so that records are read once per end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.record import Attempt
from training.records.scene_state import KILLED, State, began_since
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
    """An attempt has ended."""

    scene: ScenePlan
    outcome: Outcome
    will_retry: bool = False


class RunPageState:
    """The chosen scenes of one flow run: their rows as last read, and the events since.

    Not thread-safe.
    """

    def __init__(self, plan: Plan, rows: Mapping[str, Row], host: str) -> None:
        self._plan, self._host = plan, host
        self._rows = dict(rows)
        self._running: dict[str, Started] = {}
        self._ended: dict[str, Outcome] = {}

    def started(self, event: Started) -> None:
        """Note that an attempt has started."""
        name = event.scene.name
        self._running[name] = event
        self._ended.pop(name, None)

    def ended(self, event: Ended, row: Row) -> None:
        """Record that an attempt has ended; `row` is what the scene's record says now."""
        name = event.scene.name
        self._running.pop(name, None)
        self._rows[name] = row
        if not event.will_retry:
            self._ended[name] = event.outcome

    def update(self, rows: Mapping[str, Row]) -> None:
        """Take rows that were read anew."""
        self._rows.update(rows)

    @property
    def recorded(self) -> list[Row]:
        """What the records of all chosen scenes say, for the report."""
        return [self._rows[scene.name] for scene in self._plan.scenes]

    @property
    def outdated(self) -> list[ScenePlan]:
        """The scenes that were to run and whose record was not read after their last end."""
        return [scene for scene in self._plan.of("run") if not self._is_settled(scene.name)]

    def rows(self, moment: datetime, *, is_over: bool = False) -> list[Row]:
        """Return how all chosen scenes stand, those that a person looks for first at the top.

        `is_over`: the flow run has ended, so nothing runs or waits any more.
        """
        found = [
            replace(self._row(scene, moment, is_over=is_over), expected_s=scene.expected_s)
            for scene in self._plan.scenes
        ]
        return sorted(found, key=lambda each: ORDER.index(each.state))

    def _is_settled(self, name: str) -> bool:
        row = self._rows[name]
        return name in self._ended and row.state != "running" and row.cause != KILLED

    def _row(self, scene: ScenePlan, moment: datetime, *, is_over: bool) -> Row:
        if not is_over and scene.name in self._running:
            return self._running_row(self._running[scene.name], moment)
        if scene.action == "run" and scene.name not in self._ended:
            return self._left_over(scene) if is_over else self._with_state(scene, "queued")
        if scene.action == "held" and not self._rows[scene.name].is_done:
            return self._with_state(scene, "not started", HELD, scene.reason)
        return self._at_rest(scene)

    def _running_row(self, start: Started, moment: datetime) -> Row:
        row = self._rows[start.scene.name]
        job_id = start.location.job_id if start.location else ""
        node = (start.location.node if start.location else "") or self._host
        attempt = Attempt(start=start.at, host=node, pid=0, slurm_job_id=job_id)  # pid: not known
        elapsed_s = max(0.0, (moment - start.at).total_seconds())
        return Row(
            scene=row.scene,
            state="running",
            log=row.log,
            node=node,
            job_id=job_id,
            elapsed_s=elapsed_s,
            attempts=(*row.attempts, attempt),
            total_s=row.total_s + elapsed_s,
        )

    def _left_over(self, scene: ScenePlan) -> Row:
        """Return the row of a scene whose end was not reported before the flow run ended."""
        row = self._rows[scene.name]
        if not began_since(row.last, self._plan.created):
            return self._with_state(scene, "not started")
        if row.state == "running" and self._plan.cancelled.exists():
            return self._with_state(scene, "cancelled", STOPPING)
        return self._at_rest(scene)

    def _at_rest(self, scene: ScenePlan) -> Row:
        outcome = self._ended.get(scene.name)
        if outcome is None or (outcome.status != "held" and self._is_settled(scene.name)):
            return self._rows[scene.name]
        if outcome.status == "held":
            return self._with_state(scene, "not started", HELD, outcome.message)
        cause = str(outcome.cause or "") if outcome.status == "failed" else ""
        return self._with_state(scene, outcome.status, cause, outcome.message)

    def _with_state(
        self, scene: ScenePlan, state: State, cause: str = "", message: str = ""
    ) -> Row:
        """Return the scene's recorded row with another state than its record says."""
        row = replace(self._rows[scene.name], state=state, cause=cause, message=message)
        row = row if row.is_done else replace(row, metrics={}, picture=None)
        waits = state in {"queued", "not started"}
        return replace(row, node="", job_id="", elapsed_s=None) if waits else row
