"""The tasks that run on Dask workers: plain functions of plain data.

No Prefect here, or each worker would import it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from training.execution.run_scene import run_scene
from training.execution.supervisor_client import keep_supervisor, take_supervisor
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.system.scene_log import last_lines
from training.system.stop_request import StopRequest

SHOWN_LINES = 20

_stop = StopRequest()
_busy_threads = set[int]()
"""Threads of this worker that run a scene or a merge."""
_training_threads = set[int]()
"""Those of them that run a scene."""
_scenes_begun = 0
_changed = threading.Condition()
"""Held whenever these are read or written."""


class SceneNotDoneError(Exception):
    """An attempt that did not end as done; carries its outcome and the last lines of its log."""

    def __init__(self, outcome: Outcome, lines: tuple[str, ...] = ()) -> None:
        self.outcome = outcome
        self.lines = lines
        super().__init__("\n".join([f"{outcome} (log: {outcome.log})", *lines]))

    def __reduce__(self) -> tuple[type[SceneNotDoneError], tuple[Outcome, tuple[str, ...]]]:
        return type(self), (self.outcome, self.lines)


class NotStartedError(Exception):
    """So many scenes have failed that this one was not started."""


def get_ready() -> None:
    """Start what runs the scenes of this thread, which takes as long as joining a flow."""
    keep_supervisor(take_supervisor())


def train_one_scene(scene: ScenePlan, *, gpu: str | None = None) -> Outcome:
    """Train a scene, on one GPU if it is named, and return its outcome.

    Raises SceneNotDoneError with the log's last lines unless it ends as done, NotStartedError once
    --max-failures was reached.
    """
    if scene.enough_failures.exists():
        raise NotStartedError(f"{scene.name}: not started, --max-failures was reached")
    with _busy(), _counted():
        outcome = run_scene(scene, gpu, stop=_stop)
    if outcome.status != "done":
        raise not_done_error(scene, outcome)
    return outcome


def not_done_error(scene: ScenePlan, outcome: Outcome) -> SceneNotDoneError:
    """Return the exception for an outcome, with the log's last lines."""
    return SceneNotDoneError(outcome, tuple(last_lines(scene.log, SHOWN_LINES)))


def aggregate_experiment(plan: Plan) -> str:
    """Merge the outputs of a plan's scenes if the plan has a command for it, else summarise them.

    Return the path of what was written: the merged data, else the merge's log, or the report.
    Raises AggregateError.
    """
    # Here, since a worker that runs scenes starts in three quarters of the time without them.
    from training.jobs.aggregate_task import aggregate_in_process
    from training.plan.aggregate_state import merged_output
    from training.report.report_client import write_report_of

    if plan.aggregate is None or not plan.aggregate.command:
        return str(write_report_of(plan))
    with _busy():
        aggregate_in_process(plan, _stop)
    return str(merged_output(plan) or plan.aggregate.log)


def stop_scenes() -> None:
    """Stop the scenes that this worker runs, which get their grace; later ones end at once."""
    _stop.request_once()


def stop_scenes_harder() -> None:
    """Do the same; when a stop was requested before, end the scenes without grace."""
    _stop.request()


def wait_for_scenes(timeout_s: float | None = None) -> bool:
    """Return once this worker runs no scene, or after that time; whether it runs none.

    Without a limit call it after `stop_scenes`, or it may take hours.
    """
    with _changed:
        return _changed.wait_for(lambda: not _busy_threads, timeout_s)


def trains_scene() -> bool:
    """Return whether this worker runs a scene, and no aggregate."""
    return bool(_training_threads)


def scenes_begun() -> int:
    """Return how many scenes this worker has begun."""
    return _scenes_begun


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    with _changed:
        _busy_threads.add(threading.get_ident())
    try:
        yield
    finally:
        with _changed:
            _busy_threads.discard(threading.get_ident())
            _changed.notify_all()


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    global _scenes_begun  # noqa: PLW0603  # of this process
    with _changed:
        _scenes_begun += 1
        _training_threads.add(threading.get_ident())
    try:
        yield
    finally:
        with _changed:
            _training_threads.discard(threading.get_ident())
