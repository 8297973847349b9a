"""What happens to the scenes of one flow run: shown, counted, started again by their cause."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectConcurrentFuture
from prefect.tasks import Task

from flows.runner.dispatch import JobsError, WorkerLostError
from flows.runner.tasks import NotStartedError, SceneNotDoneError
from training.display.lines import Viewer
from training.display.terminal import viewer_of
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.record import Cause
from training.records.retry_policy import should_retry
from training.slurm.job_states import JobLocation

SHOW_EVERY_S = 1.0


class CancelledElsewhereError(Exception):
    """The plan was cancelled by `training/run.py --cancel`, maybe on another machine."""


class SceneWatch:
    """Follows the task runs of one plan."""

    def __init__(self, plan: Plan, viewers: Iterable[Viewer] = ()) -> None:
        self._plan = plan
        self._scenes = {scene.name: scene for scene in plan.scenes}
        self._viewers: tuple[Viewer, ...] = (viewer_of(plan), *viewers)
        self._lock = threading.Lock()
        self._failures = 0
        self._attempts: dict[str, int] = {}
        self._no_jobs: JobsError | None = None

    def watched(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """The task with this flow run's hooks and retries."""
        return task.with_options(
            retries=self._plan.max_retries,
            # Prefect wants plain functions here: it tells methods apart by inspection.
            retry_condition_fn=lambda _, task_run, state: self._should_retry(task_run, state),
            on_running=[lambda _task, task_run, _state: self._started(task_run)],
            on_completion=[lambda _, task_run, state: self._ended(task_run, state)],
            on_failure=[lambda _, task_run, state: self._failed(task_run, state)],
        )

    def wait(self, futures: Iterable[PrefectConcurrentFuture[Any]]) -> None:
        """Wait for all task runs, showing what goes on meanwhile; asks the server nothing.

        Raises CancelledElsewhereError when the plan is cancelled, JobsError when jobs can't be had.
        """
        left = {future.wrapped_future for future in futures}
        while left:
            left = wait(left, timeout=SHOW_EVERY_S, return_when=FIRST_COMPLETED).not_done
            for viewer in self._viewers:
                viewer.refresh()
            if left and self._plan.cancelled.exists():
                raise CancelledElsewhereError
        if self._no_jobs is not None:
            raise self._no_jobs

    def on_job_granted(self, scene: ScenePlan, location: JobLocation) -> None:
        """Report a scene as started: it has waited for a Slurm job, and now has one."""
        if not self._no_more_starts():
            self._tell_started(scene, location)

    def _no_more_starts(self) -> bool:
        """Task runs that are left pass through their states without a scene being started."""
        return self._plan.cancelled.exists() or self._plan.enough_failures.exists()

    def _started(self, task_run: TaskRun) -> None:
        self._attempts[task_run.name] = task_run.run_count
        if self._plan.slurm is None and not self._no_more_starts():
            self._tell_started(self._scenes[task_run.name])

    def _tell_started(self, scene: ScenePlan, location: JobLocation | None = None) -> None:
        for viewer in self._viewers:
            viewer.started(scene, self._attempts[scene.name], location)

    def _tell_ended(self, scene: ScenePlan, outcome: Outcome) -> None:
        for viewer in self._viewers:
            viewer.ended(scene, outcome)

    def _ended(self, task_run: TaskRun, state: State[Any]) -> None:
        scene = self._scenes[task_run.name]
        self._tell_ended(scene, outcome_of_result(scene, state.result(raise_on_failure=False)))

    def _failed(self, task_run: TaskRun, state: State[Any]) -> None:
        result = state.result(raise_on_failure=False)
        if isinstance(result, JobsError):
            self._no_jobs = result
        if isinstance(result, (JobsError, NotStartedError)):
            return
        self._ended(task_run, state)
        with self._lock:
            self._failures += 1
            if self._failures == self._plan.max_failures:
                self._plan.enough_failures.touch()

    def _should_retry(self, task_run: TaskRun, state: State[Any]) -> bool:
        scene = self._scenes[task_run.name]
        outcome = outcome_of_result(scene, state.data)
        starts, limit = task_run.run_count, self._plan.max_retries
        again = outcome.cause is not None and should_retry(
            outcome.cause, starts, limit, outcome.has_checkpoint
        )
        if again:
            self._tell_ended(scene, outcome)
        return again


def outcome_of_result(scene: ScenePlan, result: Any) -> Outcome:
    """What became of a start, from the result or the exception of its task run."""
    if isinstance(result, Outcome):
        return result
    if isinstance(result, SceneNotDoneError):
        return result.outcome
    cause = Cause.WORKER_LOST if isinstance(result, WorkerLostError) else None
    return Outcome(
        scene=scene.name, status="failed", cause=cause, message=str(result), log=scene.log
    )
