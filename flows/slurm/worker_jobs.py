"""A plan's Slurm jobs with Dask workers: their scheduler here, their pool, and what all need.

Without Prefect, so that they are submitted while it still starts (`submitted_early`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from flows.slurm import connection, probe_memory
from flows.slurm.adoption import end_what_is_left
from flows.slurm.avoided_nodes import AvoidedNodes
from flows.slurm.cluster import SlurmWorkerCluster
from flows.slurm.job import PoolLimits
from flows.slurm.job_guard import NOTICE_S, guarded
from flows.slurm.job_pool import JobPool
from flows.slurm.node_check import check_node
from flows.slurm.preflight import own_address
from preprocess.faults import Fault, FaultsError
from training.execution.attempt import ending_bound_s
from training.execution.local import prepare_launch, scenes_without_data
from training.jobs.flow_claim import flow_claimed
from training.jobs.kept_scripts import keep_scripts
from training.jobs.sbatch_commands import (
    aggregate_worker_job,
    excluded_nodes,
    most_jobs,
    slurm_of,
    worker_job,
    worker_time_s,
)
from training.plan.model import Plan
from training.slurm import client
from training.slurm.bad_nodes import BadNode, bad_nodes, forget_bad_node, note_bad_nodes
from training.slurm.batch_script import names_nodes, parse
from training.system.console import say
from training.system.scene_log import last_lines

SHOWN_LINES = 5


@contextmanager
def slurm_jobs(plan: Plan) -> Iterator[None]:
    """Provide what all jobs of a plan need: kept scripts, a folder for keys, a guard.

    Takes over the jobs of flows that have died. Raises FaultsError when the files can't be written,
    or another flow was quicker.
    """
    keep_scripts(plan)
    try:
        connection.make_folder(plan)
    except OSError as error:
        raise FaultsError([Fault("the folder for keys can't be made", str(error))]) from error
    try:
        with flow_claimed(plan), guarded(plan):
            end_what_is_left(plan)
            yield
    finally:
        connection.remove_folder(plan)


class WorkerJobs:
    """A Dask scheduler, and the pool of the Slurm jobs whose workers join it.

    `sbatch_command` is that of `JobPool`, `calls` is how many tasks there will be, of which so many
    run `at_once`. Scenes are sure to come: their jobs are submitted at once, the first one after a
    probe.
    """

    def __init__(
        self,
        plan: Plan,
        limits: PoolLimits,
        sbatch_command: Callable[[str, Sequence[str]], Sequence[str]],
        calls: int,
        *,
        at_once: int = 1,
        for_scenes: bool,
    ) -> None:
        self.plan, self._places, self._calls = plan, min(at_once, calls), calls
        self.progress: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Returns how many tasks were submitted and have ended; set by what runs them."""
        address = own_address(plan)
        self.cluster = SlurmWorkerCluster(plan, address)
        memory = probe_memory.file_of(plan, address)
        self.pool = self._make_pool(limits, sbatch_command, memory, for_scenes=for_scenes)
        self.cluster.watch_workers(self.pool.worker_joined, self.pool.worker_left)
        self.pool.start()

    def _make_pool(
        self,
        limits: PoolLimits,
        sbatch_command: Callable[[str, Sequence[str]], Sequence[str]],
        memory: Path,
        *,
        for_scenes: bool,
    ) -> JobPool:
        """Return the pool; `memory` is the file that remembers that a probe has passed."""
        plan = self.plan
        adopted = plan.adopted_jobs if for_scenes else {}
        taken = sum(adopted.values())
        new = self._calls - taken if for_scenes else 0
        check = functools.partial(check_node, plan, memory, client, say)
        return JobPool(
            self.cluster,
            client,
            limits,
            sbatch_command=sbatch_command,
            failure_text=functools.partial(failure_text, plan),
            unfinished_calls=self._unfinished,
            say=say,
            expected_calls=max(0, min(self._places - taken, new)),
            adopted=adopted,
            nodes=_avoided_nodes(plan, limits, is_probed=for_scenes),
            before_first_job=check if new else lambda _: (),
            on_bad_node=functools.partial(probe_memory.forget, memory),
            exclude_queued=functools.partial(_exclude_queued, plan),
            remember_nodes=functools.partial(_remember_nodes, plan),
        )

    @property
    def at_once(self) -> int:
        """How many tasks may run at once: those whose jobs are adopted do already."""
        return max(self._places, sum(self.plan.adopted_jobs.values()))

    def _unfinished(self) -> int:
        """Return how many tasks run, wait or will come; after --max-failures no more come."""
        submitted, ended = self.progress()
        to_come = self._calls - submitted
        if to_come and self.plan.enough_failures.exists():
            to_come = 0
        return submitted - ended + to_come

    def close(self) -> None:
        """Give the jobs up and end the scheduler; a second call does nothing."""
        self.pool.close()
        self.cluster.close()


def _avoided_nodes(plan: Plan, limits: PoolLimits, *, is_probed: bool) -> AvoidedNodes:
    """Return the nodes that a pool avoids from its beginning: those that are known as bad by now.

    Unlike those of the plan they include what its own scenes' jobs have found.
    """
    slurm = slurm_of(plan)
    can_exclude = not names_nodes(parse(slurm.script_text)[0])
    nodes = AvoidedNodes(can_exclude, is_probed and slurm.probe != "never", limits.max_jobs)
    known = bad_nodes(plan.roots.state_root) if can_exclude else ()
    nodes.avoid_bad([each.node for each in known], time.monotonic())
    return nodes


def _exclude_queued(plan: Plan, job_ids: Sequence[str], nodes: Sequence[str]) -> None:
    if excluded := excluded_nodes(slurm_of(plan), nodes):
        client.exclude_nodes(job_ids, excluded)


def _remember_nodes(plan: Plan, bad: Mapping[str, str], started_on: Collection[str]) -> None:
    root = plan.roots.state_root
    note_bad_nodes(root, [BadNode(node=node, job_id=job_id) for node, job_id in bad.items()])
    for node in started_on:
        forget_bad_node(root, node)


@contextmanager
def submitted_early(plans: Sequence[Plan]) -> Iterator[WorkerJobs | None]:
    """Submit the first plan's jobs while Prefect starts; the flow is given them.

    None where there are none yet: scenes that run here, that are done, or whose data is made first,
    which takes minutes and belongs into the run's log. Raises FaultsError when files can't be
    written.
    """
    plan = plans[0]
    if plan.slurm is None or not plan.of("run") or scenes_without_data(plans):
        yield None
        return
    prepare_launch(plans)
    with slurm_jobs(plan), closing(scene_jobs(plan)) as jobs:
        yield jobs


def scene_jobs(plan: Plan) -> WorkerJobs:
    """Submit the GPU jobs of a plan's scenes; before the first one a node is probed."""
    scenes, slurm = plan.of("run"), slurm_of(plan)
    ending_s = max(map(ending_bound_s, scenes))
    limits = PoolLimits(
        prefix="w",
        max_jobs=min(most_jobs(plan), len(scenes)),
        scenes_per_job=slurm.scenes_per_job,
        scenes_per_gpu=plan.scenes_per_gpu,
        walltime_s=worker_time_s(plan),
        min_remaining_s=max(scene.time_limit_s for scene in scenes) + ending_s,
        exit_grace_s=NOTICE_S + ending_s,
        orphan_grace_s=slurm.orphan_grace_s,
    )

    def command(name: str, exclude: Sequence[str]) -> Sequence[str]:
        return worker_job(plan, name, exclude)

    at_once = slurm.parallelism
    return WorkerJobs(plan, limits, command, len(scenes), at_once=at_once, for_scenes=True)


def merge_job(plan: Plan) -> WorkerJobs:
    """Return the job of a plan's merge, submitted once it may run: own name and time, no GPU."""
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

    def command(name: str, exclude: Sequence[str]) -> Sequence[str]:
        return aggregate_worker_job(plan, name, exclude)

    return WorkerJobs(plan, limits, command, 1, for_scenes=False)


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
