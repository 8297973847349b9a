"""What runs on a Dask worker: plain functions of plain data. No Prefect, or workers import it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from training.execution.merge import merge_in_process
from training.execution.run_scene import run_scene
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.report.summary import summarise
from training.system.scene_log import last_lines
from training.system.stop_request import StopRequest

SHOWN_LINES = 20

_stop = StopRequest()
_idle = threading.Event()
_idle.set()


class SceneNotDoneError(Exception):
    """A start of a scene that did not end as done; carries what became of it."""

    def __init__(self, outcome: Outcome, lines: tuple[str, ...] = ()) -> None:
        self.outcome = outcome
        self.lines = lines
        super().__init__("\n".join([f"{outcome} (log: {outcome.log})", *lines]))

    def __reduce__(self) -> tuple[type[SceneNotDoneError], tuple[Outcome, tuple[str, ...]]]:
        return type(self), (self.outcome, self.lines)


class NotStartedError(Exception):
    """So many scenes have failed that this one was not started."""


def train_one_scene(scene: ScenePlan) -> Outcome:
    """Run one scene.

    Raises SceneNotDoneError with the log's last lines unless it ends as done, NotStartedError once
    --max-failures was reached.
    """
    if scene.enough_failures.exists():
        raise NotStartedError(f"{scene.name}: not started, --max-failures was reached")
    with _busy():
        outcome = run_scene(scene, stop=_stop)
    if outcome.status != "done":
        raise not_done(scene, outcome)
    return outcome


def not_done(scene: ScenePlan, outcome: Outcome) -> SceneNotDoneError:
    """The exception for an outcome, with the log's last lines."""
    return SceneNotDoneError(outcome, tuple(last_lines(scene.log, SHOWN_LINES)))


def aggregate_experiment(plan: Plan) -> str:
    """Merge what the scenes of a plan have made, if the plan says so, and summarise them.

    What was written. Raises AggregateError in words.
    """
    if plan.aggregate is None or not plan.aggregate.command:
        return str(summarise(*plan.experiment).report)
    with _busy():
        merge_in_process(plan, _stop)
    return str(plan.aggregate.log)


def stop_scenes() -> None:
    """Have the scene that this worker runs end, with its grace; no other one starts here."""
    if _stop.level == 0:
        _stop.request()


def hurry_scenes() -> None:
    """The same; a second time, or after `stop_scenes`, it ends at once."""
    _stop.request()


def wait_for_scenes() -> None:
    """Return when this worker runs no scene; a scene that was told to stop ends in its grace."""
    _idle.wait()


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    _idle.clear()
    try:
        yield
    finally:
        _idle.set()
