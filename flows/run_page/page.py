"""The page of a flow run in Prefect's UI: kept current by one thread that nobody waits for.

Scenes' threads only leave word here. A server that is slow or lost costs nothing but the page.
"""

from __future__ import annotations

import itertools
import json
import logging
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from prefect.client.schemas.objects import State

from flows.run_page.artifacts import Artifacts
from flows.run_page.board import Ended, RunPageState, Started
from flows.run_page.content import EVERY_S, Facts, ended_line, key, progress, started_line, table
from flows.run_page.report_artifact import report
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.record import now
from training.report.scene_rows import row_of
from training.slurm.job_states import JobLocation
from training.system.console import say

FIRST_S = (1.0, 10.0)
"""A run that has nothing to do is over by the first, and is shown once; most have begun by the
second."""
LAST_S = 20.0
"""So long a run's end waits for its page."""


@dataclass(frozen=True)
class Over:
    """The end of the run, in words."""

    end: str


class RunPage:
    """A viewer of a plan's scenes (`training.display.lines.Viewer`) that publishes while it is open."""

    def __init__(
        self, plan: Plan, flow_run_id: UUID, logger: logging.Logger | logging.LoggerAdapter[Any]
    ) -> None:
        self._plan, self._logger = plan, logger
        self._facts = Facts.of(plan)
        self._artifacts = Artifacts(flow_run_id)
        self._events: queue.SimpleQueue[Started | Ended | Over] = queue.SimpleQueue()
        self._end = "ended unexpectedly"
        self._has_complained = False
        # Prefect finds its settings and its server in the context.
        self._thread = threading.Thread(
            target=copy_context().run,
            args=(self._try, self._keep_current),
            name="run-page",
            daemon=True,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._events.put(Over(self._end))
        self._thread.join(LAST_S)

    def final(self, state: State[Any]) -> State[Any]:
        """The same state, which the page will give as the run's end."""
        self._end = f"{state.name}: {state.message}"
        return state

    def started(self, scene: ScenePlan, attempt: int, location: JobLocation | None = None) -> None:
        """See `Viewer`."""
        self._events.put(Started(scene, attempt, location, now()))

    def ended(self, scene: ScenePlan, outcome: Outcome) -> None:
        """See `Viewer`."""
        self._events.put(Ended(scene, outcome))

    def refresh(self) -> None:
        """The thread has a clock of its own."""

    def _keep_current(self) -> None:
        rows = {scene.name: row_of(scene.name, scene.output) for scene in self._plan.scenes}
        board = RunPageState(self._plan, rows, socket.gethostname())
        pauses = itertools.chain(FIRST_S, itertools.repeat(EVERY_S))
        while not (over := self._listen(board, time.monotonic() + next(pauses))):
            self._try(lambda: self._publish(board))
        self._try(lambda: self._publish_last(board, over.end))

    def _listen(self, board: RunPageState, until: float) -> Over | None:
        """Take what scenes leave word of; returns at that moment, or at the run's end."""
        while True:
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(event, Over):
                return event
            self._try(lambda event=event: self._note(board, event))  # type: ignore[misc]

    def _note(self, board: RunPageState, event: Started | Ended) -> None:
        if isinstance(event, Started):
            board.started(event)
            self._logger.info("%s", started_line(event))
            return
        board.ended(event, row_of(event.scene.name, event.scene.output))
        level = logging.ERROR if event.outcome.status == "failed" else logging.INFO
        self._logger.log(level, "%s", ended_line(event.scene, event.outcome))

    def _publish(self, board: RunPageState, end: str = "") -> None:
        moment = now()
        scenes = board.standings(moment, over=bool(end))
        self._show("progress", "markdown", progress(self._facts, scenes, moment, end))
        self._show("scenes", "table", json.dumps(table(self._facts, scenes)))

    def _publish_last(self, board: RunPageState, end: str) -> None:
        board.replace({each.name: row_of(each.name, each.output) for each in board.unreconciled})
        self._publish(board, end)
        if self._plan.of("run"):
            self._show("report", "markdown", report(self._plan, board.rows))

    def _show(self, kind: str, form: str, data: str) -> None:
        plan = self._plan
        name = key(plan.roots, plan.exp_name, plan.output_subdir, kind)
        about = f"experiment {plan.exp_name} {plan.output_subdir}".strip()
        self._artifacts.show(name, form, f"{kind}: {about} in {plan.roots.results_root}", data)

    def _try(self, step: Callable[[], None]) -> None:
        """No page is worth a run: what goes wrong is said, once."""
        try:
            step()
        except Exception as error:  # noqa: BLE001
            if not self._has_complained:
                self._has_complained = True
                what = f"{type(error).__name__}: {error}".splitlines()[0]
                say(f"the run's page in Prefect's UI is not current ({what})", sys.stderr)
