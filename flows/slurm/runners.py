"""A flow's task runners on Slurm: one for the scenes, one for the aggregate, and what both need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flows.runner.task_runner import SceneTaskRunner
from flows.slurm import connection
from flows.slurm.cluster import SlurmWorkerCluster
from flows.slurm.job import PoolLimits
from flows.slurm.job_dispatch import SlurmDispatcher
from flows.slurm.job_guard import NOTICE_S, guarded
from flows.slurm.job_pool import JobPool
from flows.slurm.node_check import check_node
from flows.slurm.preflight import own_address
from preprocess.faults import Fault, FaultsError
from training.execution.attempt import ending_bound_s
from training.jobs.kept_scripts import keep_scripts
from training.jobs.sbatch_commands import aggregate_worker_job, slurm_of, worker_job
from training.plan.model import Plan, ScenePlan
from training.slurm import client
from training.slurm.job_states import JobLocation
from training.system.console import say
from training.system.scene_log import last_lines

OnJobGranted = Callable[[ScenePlan, JobLocation], None]
SbatchCommand = Callable[[str, Sequence[str]], Sequence[str]]
SHOWN_LINES = 5


@contextmanager
def slurm_jobs(plan: Plan) -> Iterator[None]:
    """Provide what all jobs of a plan need: kept scripts, a folder for keys, a guard.

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
    """Return a runner of scenes in GPU jobs; it checks a node before it submits the first one."""
    scenes, slurm = plan.of("run"), slurm_of(plan)
    walltime_s = slurm.time_s * slurm.scenes_per_job
    ending_s = max(map(ending_bound_s, scenes))
    limits = PoolLimits(
        prefix="w",
        max_jobs=min(slurm.parallelism, len(scenes)),
        scenes_per_job=slurm.scenes_per_job,
        walltime_s=walltime_s,
        min_remaining_s=max(scene.time_limit_s for scene in scenes) + ending_s,
        exit_grace_s=NOTICE_S + ending_s,
    )

    def command(name: str, exclude: Sequence[str]) -> Sequence[str]:
        return worker_job(plan, name, walltime_s, exclude)

    return _runner(plan, limits, command, on_job_granted, lambda: check_node(plan, client, say))


def aggregate_runner(plan: Plan) -> SceneTaskRunner:
    """Return a runner of the plan's merge in a job of its own: its own name and time, no GPU."""
    if plan.aggregate is None:
        raise ValueError("the plan has no aggregate")
    limits = PoolLimits(
        prefix="a",
        max_jobs=1,
        scenes_per_job=1,
        walltime_s=plan.aggregate.time_limit_s,
        min_remaining_s=0,
        exit_grace_s=NOTICE_S,
    )

    def command(name: str, _exclude: Sequence[str]) -> Sequence[str]:
        return aggregate_worker_job(plan, name)

    return _runner(plan, limits, command, lambda *_: None, lambda: None)


def failure_text(plan: Plan, job_ids: Sequence[str]) -> str:
    """Explain by their logs why jobs ended before their workers joined."""
    logs = [log for job_id in job_ids for log in plan.job_logs.glob(f"*-{job_id}.out")]
    lines = last_lines(logs[-1], SHOWN_LINES) if logs else []
    printed = (
        " | ".join(lines) or "nothing was printed (look for a cancelled job, or the log folder)"
    )
    return (
        f"Slurm jobs {', '.join(job_ids)} ended before their workers came: {printed}\n"
        f"    -> see the logs in {plan.job_logs}"
    )


def _cluster_of(runner: SceneTaskRunner) -> SlurmWorkerCluster:
    if not isinstance(runner.cluster, SlurmWorkerCluster):
        raise TypeError(f"not a cluster of Slurm jobs: {runner.cluster!r}")
    return runner.cluster


def _runner(
    plan: Plan,
    limits: PoolLimits,
    command: SbatchCommand,
    on_job_granted: OnJobGranted,
    before_first_job: Callable[[], None],
) -> SceneTaskRunner:
    """Return a runner with a pool of jobs that `command` submits."""

    def make_dispatcher(runner: SceneTaskRunner) -> SlurmDispatcher:
        cluster = _cluster_of(runner)
        before_first_job()
        pool = JobPool(
            cluster,
            client,
            limits,
            sbatch_command=command,
            failure_text=functools.partial(failure_text, plan),
            unfinished_calls=lambda: runner.unfinished,
            say=say,
        )
        cluster.watch_workers(pool.worker_joined, pool.worker_left)
        return SlurmDispatcher(pool, runner.client, on_job_granted)

    return SceneTaskRunner(
        max_workers=limits.max_jobs,
        make_dispatcher=make_dispatcher,
        cluster_class=SlurmWorkerCluster,
        cluster_kwargs={"plan": plan, "host": own_address(plan)},
    )
