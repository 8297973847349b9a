"""React to the starts and ends of scenes in one flow run: show, count, and retry by cause."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from prefect.futures import PrefectConcurrentFuture
from prefect.tasks import Task

from flows.adapters.prefect_adapter import State, TaskRun, forget_results, standard_future
from flows.runner.dispatch import JobsError, WorkerLostError
from flows.runner.tasks import NotStartedError, SceneNotDoneError
from training.display.lines import Notices, Viewer
from training.display.terminal import viewer_of
from training.execution.gpu_sharing import GpuSharing
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.record import Cause, RecordError, RunRecord, read_record
from training.records.retry_policy import should_aggregate_again, should_retry
from training.records.scene_state import has_failed_since
from training.slurm.job_states import JobLocation
from training.system.console import say

REFRESH_S = 1.0
MOST_WAITING = 100
"""Task runs that exist and wait for their turn; the scenes after them are in the plan alone. Each
costs the server rows and this process memory, and ten thousand at once would cost minutes."""


class CancelledElsewhereError(Exception):
    """The plan was cancelled by `training/run.py --cancel`, maybe on another machine."""


def task_prefix(plan: Plan) -> str:
    """Return what the names of a plan's task runs begin with: of a loop their stage."""
    return f"{plan.stage.name}: " if plan.stage else ""


def aggregates_again(plan: Plan, task_run: TaskRun, state: State[Any]) -> bool:
    """Return whether an aggregate that did not end well starts again, and say so if it does."""
    error, attempts = state.data, task_run.run_count
    cause = getattr(error, "cause", None)
    if plan.cancelled.exists() or not should_aggregate_again(cause, attempts, plan.max_retries):
        return False
    say(f"the aggregate was lost ({cause}) and is started again: {error}")
    return True


class SceneEvents:
    """Receives the events of one plan's task runs and passes them on to viewers.

    Prefect calls its hooks on the threads that run tasks.
    """

    def __init__(
        self,
        plan: Plan,
        viewers: Iterable[Viewer] = (),
        on_task_run: Callable[[str, TaskRun], None] = lambda *_: None,
    ) -> None:
        """`on_task_run` gets each scene's name and task run before an attempt is shown."""
        self._plan = plan
        self._prefix = task_prefix(plan)
        self._scenes = {f"{self._prefix}{scene.name}": scene for scene in plan.scenes}
        self._on_task_run = on_task_run
        self._viewers: tuple[Viewer, ...] = (viewer_of(plan), *viewers)
        self._lock = threading.Lock()
        self._failures = _failures_before(plan)
        self._attempts: dict[str, int] = {}
        self._no_jobs: JobsError | None = None
        self._notices = Notices(self.say)
        alone = [scene.name for scene in plan.scenes if scene.alone_on_gpu]
        self.sharing = GpuSharing(plan.scenes_per_gpu, self.say, alone)
        """How many scenes share a GPU, of this machine or of a job."""

    def with_hooks(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """Return a copy of a task with the hooks and retries of this flow run."""
        return task.with_options(
            task_run_name=f"{self._prefix}{{scene.name}}",
            retries=self._plan.max_retries,
            # Plain functions, not methods: Prefect inspects their signatures.
            retry_condition_fn=lambda _, task_run, state: self._should_retry(task_run, state),
            on_running=[lambda _task, task_run, _state: self._started(task_run)],
            on_completion=[lambda _, task_run, state: self._ended(task_run, state)],
            on_failure=[lambda _, task_run, state: self._failed(task_run, state)],
        )

    def run(
        self,
        scenes: Sequence[ScenePlan],
        submit: Callable[[ScenePlan], PrefectConcurrentFuture[Any]],
        at_once: int,
    ) -> list[PrefectConcurrentFuture[Any]]:
        """Submit scenes in order and wait until all have ended; return the futures, in order.

        So many run `at_once`, `MOST_WAITING` more have been submitted. Scenes that can't start any
        more are not submitted. Makes no requests to the server; refreshes the viewers meanwhile.
        Raises CancelledElsewhereError when the plan is cancelled, JobsError when jobs can't be had.
        """
        self._stop_after_enough_failures()
        futures: list[PrefectConcurrentFuture[Any]] = []
        left: set[Future[Any]] = set()
        while left or (len(futures) < len(scenes) and self._may_submit()):
            free = at_once + MOST_WAITING - len(left) if self._may_submit() else 0
            new = list(map(submit, scenes[len(futures) : len(futures) + free]))
            futures += new
            left = wait(left.union(map(standard_future, new)), REFRESH_S, FIRST_COMPLETED).not_done
            forget_results()
            for viewer in self._viewers:
                viewer.refresh()
            if left and self._plan.cancelled.exists():
                raise CancelledElsewhereError
        if len(futures) < len(scenes) and self._plan.cancelled.exists():
            raise CancelledElsewhereError
        if self._no_jobs is not None:
            raise self._no_jobs
        return futures

    def _may_submit(self) -> bool:
        return self._no_jobs is None and not self._has_stopped()

    def on_job_granted(self, scene: ScenePlan, location: JobLocation) -> None:
        """Report a scene as started: it has waited for a Slurm job, and now has one."""
        if not self._has_stopped():
            self._show_started(scene, location)

    def on_gpu_granted(self, scene: ScenePlan) -> None:
        """Report a scene as started: it may have waited for a GPU, and now has one."""
        if not self._has_stopped():
            self._show_started(scene)

    def say(self, text: str) -> None:
        """Say what a person who waits for the scenes may want to know."""
        for viewer in self._viewers:
            viewer.say(text)

    def _has_stopped(self) -> bool:
        """Return whether no scene starts any more: task runs that are left only change states."""
        return self._plan.cancelled.exists() or self._plan.enough_failures.exists()

    def _started(self, task_run: TaskRun) -> None:
        scene = self._scenes[task_run.name]
        self._attempts[scene.name] = scene.former_attempts + task_run.run_count
        self._on_task_run(scene.name, task_run)
        if self._plan.slurm is None and not self._plan.gpus and not self._has_stopped():
            self._show_started(scene)

    def _show_started(self, scene: ScenePlan, location: JobLocation | None = None) -> None:
        for viewer in self._viewers:
            viewer.started(scene, self._attempts[scene.name], location)

    def _show_ended(self, scene: ScenePlan, outcome: Outcome, *, will_retry: bool) -> None:
        for viewer in self._viewers:
            viewer.ended(scene, outcome, will_retry=will_retry)
        self.sharing.tell_end(outcome, will_retry=will_retry)
        self._notices.tell(outcome.notice)

    def _ended(self, task_run: TaskRun, state: State[Any]) -> None:
        scene = self._scenes[task_run.name]
        outcome = outcome_of_result(scene, state.result(raise_on_failure=False))
        self._show_ended(scene, outcome, will_retry=False)

    def _failed(self, task_run: TaskRun, state: State[Any]) -> None:
        result = state.result(raise_on_failure=False)
        if isinstance(result, JobsError):
            self._no_jobs = result
        if isinstance(result, (JobsError, NotStartedError)):
            return
        self._ended(task_run, state)
        with self._lock:
            self._failures += 1
            self._stop_after_enough_failures()

    def _stop_after_enough_failures(self) -> None:
        if 0 < self._plan.max_failures <= self._failures:
            self._plan.enough_failures.touch()

    def _should_retry(self, task_run: TaskRun, state: State[Any]) -> bool:
        """Return whether Prefect shall retry a task run; show that to the viewers if so."""
        scene = self._scenes[task_run.name]
        outcome = outcome_of_result(scene, state.data)
        will_retry = not self._has_stopped() and should_retry(
            outcome,
            scene.former_attempts + task_run.run_count,
            self._plan.max_retries,
            has_more_memory=self.sharing.has_more_memory(scene.name),
        )
        if will_retry:
            self._show_ended(scene, outcome, will_retry=True)
        return will_retry


def _failures_before(plan: Plan) -> int:
    """Return how many scenes have failed for good in earlier starts of a plan's controller."""
    if not plan.max_failures:
        return 0
    ended = (_record_or_none(scene) for scene in plan.of("skip"))
    return sum(has_failed_since(record, plan.created) for record in ended)


def _record_or_none(scene: ScenePlan) -> RunRecord | None:
    try:
        return read_record(scene.output)
    except RecordError:
        return None


def outcome_of_result(scene: ScenePlan, result: Any) -> Outcome:
    """Return an attempt's outcome, given the result or the exception of its task run."""
    if isinstance(result, Outcome):
        return result
    if isinstance(result, SceneNotDoneError):
        return result.outcome
    cause = Cause.WORKER_LOST if isinstance(result, WorkerLostError) else None
    return Outcome(
        scene=scene.name, status="failed", cause=cause, message=str(result), log=scene.log
    )
