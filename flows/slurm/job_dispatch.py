"""Runs bodies in Slurm jobs, and joins what became of them with Slurm's word."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import distributed
from prefect.states import Completed

from flows.runner.dispatch import Call, WorkerLostError, run_on
from flows.runner.tasks import SceneNotDoneError, not_done
from flows.slurm.job import Job
from flows.slurm.job_pool import JobPool
from training.execution.run_scene import ending_bound_s
from training.jobs.reconcile import reconcile
from training.plan.model import ScenePlan
from training.records.outcome import Outcome
from training.records.record import Cause
from training.slurm.job_states import JobLocation


class SlurmWorkers:
    """The jobs of a pool, each lent to one body at a time."""

    def __init__(
        self,
        pool: JobPool,
        client: distributed.Client,
        on_job_granted: Callable[[ScenePlan, JobLocation], None],
    ) -> None:
        self._pool, self._client, self._on_job_granted = pool, client, on_job_granted
        pool.start()

    def run(self, call: Call, stop: threading.Event) -> Any:
        """See `Workers.run`; a scene's loss is a SceneNotDoneError with Slurm's cause."""
        scene = _scene_of(call)
        with self._pool.lend(stop) as job:
            if scene is not None:
                self._on_job_granted(scene, job.location)
                call = _within(call, scene, job)
            try:
                result = run_on(job.address, self._client, call, stop, job.lost)
            except (WorkerLostError, SceneNotDoneError) as error:
                lost: WorkerLostError | SceneNotDoneError = error
                if _is_lost(error):
                    job.scenes_left = 0  # what ended this scene would end the next one too
            else:
                return Completed(message=_words(result, job), data=result)
        # The job is out of our hands now, so that others are not held up while Slurm is asked.
        if scene is None:
            raise WorkerLostError(f"{job}: {self._pool.end_of(job, stop) or lost}") from lost
        if not _is_lost(lost):
            raise lost
        return self._settled(scene, job, stop)

    def close(self) -> None:
        """Give all jobs back."""
        self._pool.close()

    def _settled(self, scene: ScenePlan, job: Job, stop: threading.Event) -> Any:
        outcome = reconcile(scene, job.job_id, self._pool.end_of(job, stop))
        if outcome.status == "done":
            return Completed(message=_words(outcome, job), data=outcome)
        if outcome.cause in {Cause.NODE_FAILURE, Cause.WORKER_LOST}:
            self._pool.avoid(job.node)
        raise not_done(scene, outcome)


def _is_lost(error: WorkerLostError | SceneNotDoneError) -> bool:
    """Whether only Slurm can tell why a body ended."""
    return isinstance(error, WorkerLostError) or error.outcome.cause is Cause.WORKER_LOST


def _within(call: Call, scene: ScenePlan, job: Job) -> Call:
    """The call with the scene's deadline inside the job's: a slow start of the job costs time."""
    left = job.ends_at - time.monotonic() - ending_bound_s(scene)
    limited = scene.model_copy(update={"time_limit_s": max(1, min(scene.time_limit_s, int(left)))})
    args = [limited if each is scene else each for each in call.args]
    return functools.partial(call.func, *args, **call.keywords)


def _scene_of(call: Call) -> ScenePlan | None:
    return next((each for each in call.args if isinstance(each, ScenePlan)), None)


def _words(result: Any, job: Job) -> str:
    log = f", log {result.log}" if isinstance(result, Outcome) else ""
    return f"{job}{log}"
