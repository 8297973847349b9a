"""A flow's runners on Slurm: one for the scenes, one for the aggregate, and what both need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flows.runner.task_runner import SceneTaskRunner
from flows.slurm import connection
from flows.slurm.cluster import SlurmWorkerCluster
from flows.slurm.job import PoolLimits
from flows.slurm.job_dispatch import SlurmWorkers
from flows.slurm.job_guard import NOTICE_S, guarded
from flows.slurm.job_pool import JobPool
from flows.slurm.node_check import check_node
from flows.slurm.polling import Slurm
from flows.slurm.preflight import own_address
from preprocess.faults import Fault, FaultsError
from training.execution.run_scene import ending_bound_s
from training.jobs.kept_scripts import keep_scripts
from training.jobs.sbatch_commands import aggregate_worker_job, slurm_of, worker_job
from training.plan.model import Plan, ScenePlan
from training.slurm.job_states import JobLocation
from training.system.console import say
from training.system.scene_log import last_lines

OnJobGranted = Callable[[ScenePlan, JobLocation], None]
SHOWN_LINES = 5


@contextmanager
def slurm_jobs(plan: Plan) -> Iterator[None]:
    """What all jobs of a plan need: kept scripts, a folder for keys, and a guard that ends them.

    Raises FaultsError when the files can't be written.
    """
    keep_scripts(plan)
    try:
        connection.make_folder(plan)
    except OSError as error:
        raise FaultsError([Fault("the folder for keys can't be made", str(error))]) from error
    try:
        with guarded(plan):
            yield
    finally:
        connection.remove_folder(plan)


def scene_runner(plan: Plan, on_job_granted: OnJobGranted) -> SceneTaskRunner:
    """Runs scenes in GPU jobs; a node is probed before the first is submitted."""
    scenes, slurm = plan.of("run"), slurm_of(plan)
    walltime_s = slurm.time_s * slurm.scenes_per_job
    ending_s = max(map(ending_bound_s, scenes))
    longest_s = max(scene.time_limit_s for scene in scenes) + ending_s
    limits = PoolLimits(
        command=lambda name, exclude: worker_job(plan, name, walltime_s, exclude),
        prefix="w",
        max_jobs=min(slurm.parallelism, len(scenes)),
        scenes_per_job=slurm.scenes_per_job,
        walltime_s=walltime_s,
        min_remaining_s=longest_s,
        exit_grace_s=NOTICE_S + ending_s,
        last_words=functools.partial(last_words, plan),
    )
    return _runner(plan, limits, on_job_granted, lambda: check_node(plan, Slurm(), say))


def aggregate_runner(plan: Plan) -> SceneTaskRunner:
    """Runs the aggregate in a job of its own, with its own name and time, without GPU."""
    if plan.aggregate is None:
        raise ValueError("the plan has no aggregate")
    limits = PoolLimits(
        command=lambda name, _: aggregate_worker_job(plan, name),
        prefix="a",
        max_jobs=1,
        scenes_per_job=1,
        walltime_s=plan.aggregate.time_limit_s,
        min_remaining_s=0,
        exit_grace_s=NOTICE_S,
        last_words=functools.partial(last_words, plan),
    )
    return _runner(plan, limits, lambda *_: None, lambda: None)


def last_words(plan: Plan, job_ids: Sequence[str]) -> str:
    """What jobs said whose worker never came."""
    logs = [log for job_id in job_ids for log in plan.job_logs.glob(f"*-{job_id}.out")]
    lines = last_lines(logs[-1], SHOWN_LINES) if logs else []
    said = " | ".join(lines) or "nothing was printed (look for a cancelled job, or the log folder)"
    return (
        f"Slurm jobs {', '.join(job_ids)} ended before their workers came: {said}\n"
        f"    -> see the logs in {plan.job_logs}"
    )


def _runner(
    plan: Plan, limits: PoolLimits, on_job_granted: OnJobGranted, before: Callable[[], None]
) -> SceneTaskRunner:
    def make_workers(runner: SceneTaskRunner) -> SlurmWorkers:
        cluster = runner.cluster
        if not isinstance(cluster, SlurmWorkerCluster):
            raise TypeError(f"not a cluster of Slurm jobs: {cluster!r}")
        before()
        pool = JobPool(cluster, Slurm(), limits, lambda: runner.unfinished, say)
        cluster.watch_workers(pool.worker_came, pool.worker_went)
        return SlurmWorkers(pool, runner.client, on_job_granted)

    return SceneTaskRunner(
        max_workers=limits.max_jobs,
        workers=make_workers,
        cluster_class=SlurmWorkerCluster,
        cluster_kwargs={"plan": plan, "host": own_address(plan)},
    )
