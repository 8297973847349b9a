"""The task runner of a flow whose tasks run in Slurm jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from flows.runner.task_runner import SceneTaskRunner
from flows.slurm.job_dispatch import SlurmDispatcher
from flows.slurm.job_pool import UNSHARED
from flows.slurm.worker_jobs import WorkerJobs
from training.execution.gpu_sharing import GpuSharing
from training.plan.model import ScenePlan
from training.slurm.job_states import JobLocation

OnJobGranted = Callable[[ScenePlan, JobLocation], None]


@contextmanager
def job_runner(
    jobs: WorkerJobs,
    on_job_granted: OnJobGranted = lambda *_: None,
    sharing: GpuSharing = UNSHARED,
) -> Iterator[SceneTaskRunner]:
    """Open a runner of tasks in Slurm jobs, which are given up when it closes."""

    def make_dispatcher(runner: SceneTaskRunner) -> SlurmDispatcher:
        jobs.progress = lambda: (runner.submitted, runner.ended)
        return SlurmDispatcher(jobs.pool, runner.client, on_job_granted, sharing)

    settings: dict[str, Any] = {
        "make_dispatcher": make_dispatcher,
        "cluster_class": lambda: jobs.cluster,
    }
    with closing(jobs), SceneTaskRunner(jobs.at_once, **settings) as runner:
        yield runner
