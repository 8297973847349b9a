"""The page of a flow run in Prefect's UI, kept current by a thread of its own.

The threads of the scenes only put events into a queue. A server that is slow or lost costs the page
and delays no scene.
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
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import httpx

from flows.adapters.prefect_adapter import State, TaskRun, task_run_log, task_run_url
from flows.run_page.artifacts import Artifacts
from flows.run_page.content import (
    EVERY_S,
    RunFacts,
    artifact_key,
    ended_line,
    progress,
    started_line,
    table,
)
from flows.run_page.page_state import Ended, RunPageState, Started
from flows.run_page.report_artifact import report
from flows.run_page.scene_artifact import scene_page
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.record import now
from training.report.scene_rows import Row, row_of
from training.slurm.job_states import JobLocation
from training.system.console import say

FIRST_S = (1.0, 10.0)
"""Pauses before the first updates: a run that has nothing to do is over by the first, and is shown
once; the scenes of most others have started by the second."""
MOST_PAGES = 200
"""So many done scenes get an artifact on a page of their own, and every scene that is not done."""
LAST_S = 20.0
"""How long the end of a run waits for the last update."""


@dataclass(frozen=True)
class Over:
    """The run is over; `end` says how."""

    end: str


class RunPage:
    """Shows a plan's scenes in Prefect's UI while it is open: a `training.display.lines.Viewer`."""

    def __init__(
        self, plan: Plan, flow_run_id: UUID, logger: logging.Logger | logging.LoggerAdapter[Any]
    ) -> None:
        self._plan, self._logger = plan, logger
        self._facts = RunFacts.of(plan)
        self._artifacts = Artifacts(flow_run_id)
        self._events: queue.SimpleQueue[Started | Ended | Over] = queue.SimpleQueue()
        self._task_runs: dict[str, TaskRun] = {}
        self._pages_left: deque[tuple[ScenePlan, Row]] = deque()
        self._end = "ended unexpectedly"
        self._pages_of_done = 0
        self._has_complained = False
        # In the caller's context: there Prefect finds its settings and its server.
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
        """Return the state; the page's last update shows it as the run's end."""
        self._end = f"{state.name}: {state.message}"
        return state

    def has_task_run(self, scene: str, task_run: TaskRun) -> None:
        """Remember the task run of a scene: lines about the scene belong on its page too."""
        self._task_runs[scene] = task_run

    def started(self, scene: ScenePlan, attempt: int, location: JobLocation | None = None) -> None:
        """Show that an attempt has started."""
        self._events.put(Started(scene, attempt, location, now()))

    def ended(self, scene: ScenePlan, outcome: Outcome, *, will_retry: bool) -> None:
        """Show how an attempt has ended."""
        self._events.put(Ended(scene, outcome, will_retry))

    def say(self, text: str) -> None:
        """Log a line."""
        self._logger.info("%s", text)

    def refresh(self) -> None:
        """Do nothing: the page's thread has a clock of its own."""

    def _keep_current(self) -> None:
        scenes = RunPageState(self._plan, rows_of(self._plan.scenes), socket.gethostname())
        pauses = itertools.chain(FIRST_S, itertools.repeat(EVERY_S))
        while not (over := self._listen(scenes, time.monotonic() + next(pauses))):
            self._try(lambda: self._publish(scenes))
        self._try(lambda: self._publish_last(scenes, over.end))

    def _listen(self, scenes: RunPageState, until: float) -> Over | None:
        """Handle events until a moment of `time.monotonic`; return the run's end if it came."""
        while True:
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(event, Over):
                return event
            self._try(lambda event=event: self._note(scenes, event))  # type: ignore[misc]

    def _note(self, scenes: RunPageState, event: Started | Ended) -> None:
        task_run = self._task_runs.get(event.scene.name)
        logger = task_run_log(task_run) if task_run else self._logger
        if isinstance(event, Started):
            scenes.started(event)
            logger.info("%s", started_line(event))
            return
        row = row_of(event.scene.name, event.scene.output)
        scenes.ended(event, row)
        level = logging.ERROR if event.outcome.status == "failed" else logging.INFO
        logger.log(level, "%s", ended_line(event.scene, event.outcome))
        if task_run and not event.will_retry:
            self._give_page(event.scene, row)

    def _give_page(self, scene: ScenePlan, row: Row) -> None:
        """Have an ended scene get its page; of done ones only the first, and forget the others.

        Each costs a request, and nothing leads to the page of a done scene but its name.
        """
        if row.is_done and self._pages_of_done >= MOST_PAGES:
            del self._task_runs[scene.name]
            return
        self._pages_of_done += row.is_done
        self._pages_left.append((scene, row))

    def _publish(self, scenes: RunPageState, end: str = "") -> None:
        moment = now()
        rows = scenes.rows(moment, is_over=bool(end))
        shown = (row.scene for row in rows if row.state in {"running", "failed"})
        known = {name: self._task_runs[name] for name in shown if name in self._task_runs}
        links = {name: task_run_url(each.id) for name, each in known.items()}
        self._show("progress", "markdown", progress(self._facts, rows, moment, end, links))
        self._show("scenes", "table", json.dumps(table(self._facts, rows)))
        self._publish_scenes()

    def _publish_scenes(self) -> None:
        """Give each scene that has ended since an artifact on its own page; one request each."""
        while self._pages_left:
            scene, row = self._pages_left[0]
            try:
                self._add_page(scene, row)
            except httpx.HTTPStatusError as error:
                if not error.response.is_client_error:
                    raise
                self._complain(error)  # too large for a proxy, for instance: the others are not
            self._pages_left.popleft()

    def _add_page(self, scene: ScenePlan, row: Row) -> None:
        task_run = self._task_runs[scene.name]
        self._artifacts.add(task_run.id, f"scene {scene.name}", scene_page(scene, row))
        if row.is_done:  # nothing leads to its page any more, and a task run takes kilobytes
            del self._task_runs[scene.name]

    def _publish_last(self, scenes: RunPageState, end: str) -> None:
        scenes.update(rows_of(scenes.outdated))
        try:
            self._publish(scenes, end)
        finally:
            if self._plan.of("run"):
                self._show("report", "markdown", report(self._plan, scenes.recorded))

    def _show(self, kind: str, form: str, data: str) -> None:
        plan = self._plan
        name = artifact_key(plan.roots, plan.exp_name, plan.output_subdir, kind)
        about = f"experiment {plan.exp_name} {plan.output_subdir}".strip()
        self._artifacts.show(name, form, f"{kind}: {about} in {plan.roots.results_root}", data)

    def _try(self, step: Callable[[], None]) -> None:
        """Run a step; say once if one fails, because no page is worth a run."""
        try:
            step()
        except Exception as error:  # noqa: BLE001
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            say(f"the run's page in Prefect's UI is not current ({what})", sys.stderr)


def rows_of(scenes: Iterable[ScenePlan]) -> dict[str, Row]:
    """Read what the records of these scenes say, by scene."""
    return {scene.name: row_of(scene.name, scene.output) for scene in scenes}
