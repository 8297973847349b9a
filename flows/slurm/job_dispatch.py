"""Runs tasks in the jobs of a pool, and completes what is known of their ends by asking Slurm."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from prefect.states import Completed

from flows.adapters.dask_adapter import Client
from flows.runner.dispatch import Call, StoppedError, WorkerLostError, run_on
from flows.runner.tasks import SceneNotDoneError, not_done_error
from flows.slurm.adoption import (
    recorded_outcome,
    starts_anew,
    trains_other_configuration,
)
from flows.slurm.job import Job
from flows.slurm.job_pool import UNSHARED, JobPool
from training.execution.attempt import ending_bound_s
from training.execution.gpu_sharing import GpuSharing
from training.execution.merge import AggregateError
from training.jobs.job_cause import cause_of_job
from training.jobs.reconcile import reconcile
from training.plan.model import ScenePlan
from training.records.claim import holder_of
from training.records.outcome import Outcome
from training.records.record import Cause, RecordError, read_record
from training.slurm.job_states import JobEnd, JobLocation

LOSSES = (WorkerLostError, SceneNotDoneError, AggregateError)
"""How a task ends whose job Slurm may have ended."""
LOST_POLL_S = 5.0
FOLLOW_POLL_S = 2.0
NODE_FAULTS = frozenset({Cause.NODE_FAILURE, Cause.WORKER_LOST})
"""Causes after which a job's node is avoided."""


class SlurmDispatcher:
    """Runs each task in a job of a pool (a `Dispatcher`).

    `on_job_granted` is called with each scene that has got a job, right before it starts there;
    `sharing` says how many may be in a job at once.
    """

    def __init__(
        self,
        pool: JobPool,
        client: Client,
        on_job_granted: Callable[[ScenePlan, JobLocation], None],
        sharing: GpuSharing = UNSHARED,
    ) -> None:
        self._pool, self._client, self._on_job_granted = pool, client, on_job_granted
        self._sharing = sharing
        self._followed = set[str]()
        """Scenes whose adopted jobs have been looked at."""

    def run(self, call: Call, stop: threading.Event) -> Any:
        """Run a call in a job of the pool; return a Completed state that names job and log.

        Raises what `Dispatcher.run` raises, JobsError when no job can be had; for a scene whose
        worker was lost SceneNotDoneError with the cause that Slurm gives.
        """
        scene = _scene_of(call)
        if scene and (adopted := self._take_adopted(scene)):
            outcome = self._follow(scene, adopted, stop)
            if not starts_anew(scene, outcome):
                return self._result(scene, adopted, outcome)
        try:
            with self._pool.acquire(stop, scene.name if scene else "", self._sharing) as job:
                return self._run_in_job(job, scene, call, stop)
        except LOSSES as error:
            if not _is_lost(error):
                raise
            # The job is given back by now, so that others get its successor while Slurm is asked.
            end = self._pool.wait_for_end(job, stop)
            if scene is None:
                raise self._lost(job, end, error) from error
            is_lost = isinstance(error, WorkerLostError)
            seen = f"its Dask worker was lost ({error})" if is_lost else ""
            return self._result(scene, job, self._reconcile(scene, job, end, seen, stop))

    def close(self) -> None:
        """Give all jobs up."""
        self._pool.close()

    def _run_in_job(
        self, job: Job, scene: ScenePlan | None, call: Call, stop: threading.Event
    ) -> Any:
        if scene is not None:
            self._on_job_granted(scene, job.location)
            call = _in_job(call, scene, self._sharing.planned(scene), job)
        try:
            result = run_on(job.address, self._client, call, stop, job.lost)
        except LOSSES as error:
            if _is_lost(error):
                job.scenes_left = 0  # what ended this scene would end the next one too
            elif isinstance(error, SceneNotDoneError):
                self._sharing.note_end(error.outcome)
            raise
        return _completed(result, job)

    def _lost(self, job: Job, end: JobEnd | None, error: Exception) -> WorkerLostError:
        """Return the error of an aggregate that was lost with its job, with Slurm's cause."""
        cause = (cause_of_job(end)[0] if end else None) or Cause.WORKER_LOST
        if cause in NODE_FAULTS:
            self._pool.avoid_node(job.node)
        return WorkerLostError(f"{job}: {end or error}", cause)

    def _take_adopted(self, scene: ScenePlan) -> Job | None:
        """Return the adopted job that trains a scene, at the scene's first attempt; else None.

        It may have ended, with its scene, before the scene's turn came.
        """
        if not scene.adopted_job or scene.name in self._followed:
            return None
        self._followed.add(scene.name)
        self._sharing.started(scene.name, scene.scenes_on_gpu)
        return self._pool.take_adopted(scene.adopted_job) or Job.gone(scene.adopted_job)

    def _follow(self, scene: ScenePlan, job: Job, stop: threading.Event) -> Outcome:
        """Wait for the end of a scene in an adopted job; return its outcome.

        A scene that trains there with another configuration is ended. Raises StoppedError.
        """
        must_end = trains_other_configuration(scene)
        if not must_end:
            self._on_job_granted(scene, _location(scene, job))
        while _may_still_run_in(scene, job) and not job.lost.is_set():
            must_end = must_end and not self._pool.end_adopted(job)
            if stop.wait(FOLLOW_POLL_S):
                raise StoppedError("the flow stopped while this trained")
        outcome = recorded_outcome(scene, job.job_id)
        self._pool.adopted_scene_ended(job, may_join=outcome is not None)
        if outcome is None:
            outcome = self._reconcile(scene, job, self._pool.wait_for_end(job, stop), "", stop)
        return outcome

    def _reconcile(
        self, scene: ScenePlan, job: Job, end: JobEnd | None, seen: str, stop: threading.Event
    ) -> Outcome:
        """Complete the record of a scene whose worker was lost; it may be done all the same.

        On a node that Slurm has lost the scene may still be trained: its end is waited for, as long
        as it may take.
        """
        scene = self._sharing.planned(scene)
        deadline = time.monotonic() + scene.time_limit_s + ending_bound_s(scene)
        outcome = reconcile(scene, job.job_id, end, seen=seen)
        while outcome.status == "held" and _still_runs_in(scene, job):
            if stop.wait(LOST_POLL_S) or time.monotonic() > deadline:
                break
            outcome = reconcile(scene, job.job_id, end, seen=seen)
        return outcome

    def _result(self, scene: ScenePlan, job: Job, outcome: Outcome) -> Any:
        """Return the state of a scene that is done; raises SceneNotDoneError for any other."""
        if outcome.status == "done":
            return _completed(outcome, job)
        if outcome.cause in NODE_FAULTS:
            self._pool.avoid_node(job.node)
        raise not_done_error(scene, outcome)


def _location(scene: ScenePlan, job: Job) -> JobLocation:
    """Return an adopted job's id, and its node by the record of the scene that it trains."""
    with contextlib.suppress(RecordError):
        record = read_record(scene.output)
        if record and record.last and record.last.slurm_job_id == job.job_id:
            job.node = record.last.host
    return job.location


def _still_runs_in(scene: ScenePlan, job: Job) -> bool:
    """Return whether the process that has the scene is of a job, which Slurm takes for ended."""
    try:
        return _is_held_by(scene, job)
    except RecordError:
        return False


def _is_held_by(scene: ScenePlan, job: Job) -> bool:
    """Return whether the process that has the scene is of a job; raises RecordError."""
    holder = holder_of(scene.output)
    return holder is not None and holder.slurm_job_id == job.job_id


def _may_still_run_in(scene: ScenePlan, job: Job) -> bool:
    """Return whether a scene of a job that is in Slurm's queue may still run there.

    Also where its claim can't be read for a moment: else its job would be ended.
    """
    try:
        return _is_held_by(scene, job)
    except RecordError:
        return True


def _is_lost(error: Exception) -> bool:
    """Return whether only Slurm knows why a task ended."""
    if isinstance(error, SceneNotDoneError):
        return error.outcome.cause is Cause.WORKER_LOST
    return isinstance(error, WorkerLostError) or getattr(error, "cause", "") is Cause.WORKER_LOST


def _in_job(call: Call, scene: ScenePlan, started: ScenePlan, job: Job) -> Call:
    """Return the call with the scene as it is started, its time limit inside its job's.

    It is shorter only where the job itself was longer in starting than Slurm's time allows for: the
    pool gives no scene to a job that has waited for one until it could not hold it any more.
    """
    left_s = int(job.ends_at - time.monotonic() - ending_bound_s(scene))
    limited = started.model_copy(update={"time_limit_s": max(1, min(scene.time_limit_s, left_s))})
    args = [limited if each is scene else each for each in call.args]
    return functools.partial(call.func, *args, **call.keywords)


def _scene_of(call: Call) -> ScenePlan | None:
    return next((each for each in call.args if isinstance(each, ScenePlan)), None)


def _completed(result: Any, job: Job) -> Any:
    log = f", log {result.log}" if isinstance(result, Outcome) else ""
    return Completed(message=f"{job}{log}", data=result)
