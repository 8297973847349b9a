"""The pool of a flow's Slurm jobs: the thread that keeps it, its lock, and its calls of Slurm.

What is to be done is decided by `flows.slurm.pool_state`, which has neither.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from flows.runner.dispatch import JobsError, StoppedError
from flows.slurm.avoided_nodes import AvoidedNodes
from flows.slurm.job import Job, PoolLimits
from flows.slurm.polling import Slurm, ThrottledMessages, jobs_in_queue
from flows.slurm.pool_actions import Actions, Query, Submission
from flows.slurm.pool_state import END_PATIENCE_S, PoolState
from training.execution.gpu_sharing import GpuSharing
from training.jobs.sbatch_check import no_node_left
from training.slurm.client import SlurmError
from training.slurm.job_states import JobEnd

TICK_S = 0.2
EARLY_END = "a job ended there before its worker came"
UNSHARED = GpuSharing(1, lambda _: None)
"""Of calls that are alone in their jobs."""


class Cluster(Protocol):
    """What the pool needs of `flows.slurm.cluster.SlurmWorkerCluster`."""

    def add_jobs(self, commands: Mapping[str, Sequence[str]]) -> Mapping[str, Submission]:
        """Submit jobs by worker name; return what became of each."""
        ...

    def drop(self, names: Sequence[str]) -> None:
        """Forget jobs and have their workers close."""
        ...


class JobPool:
    """Keeps as many jobs as calls need, gives them to calls, and replaces lost ones.

    `sbatch_command` makes the command line that submits a job, given the name of its worker and
    nodes to exclude; `failure_text` explains why jobs, by id, ended before their workers joined;
    `unfinished_calls` counts the calls that have not ended, those to come included, of which
    `expected_calls` will come at once: their jobs are submitted before. `adopted`: jobs, by id,
    that train so many scenes of ours already, and count as held. `before_first_job` may take its
    time and raise JobsError; it is given what is set when the pool closes, and returns nodes on
    which nothing can start. `on_bad_node` is called when a node has failed, or could not start a
    worker. `exclude_queued` keeps queued jobs, by id, off nodes; `remember_nodes` is given bad
    nodes, with a job that ended there, and nodes on which workers have started.
    """

    def __init__(
        self,
        cluster: Cluster,
        slurm: Slurm,
        limits: PoolLimits,
        *,
        sbatch_command: Callable[[str, Sequence[str]], Sequence[str]],
        failure_text: Callable[[Sequence[str]], str],
        unfinished_calls: Callable[[], int],
        say: Callable[[str], None],
        expected_calls: int = 0,
        adopted: Mapping[str, int] | None = None,
        nodes: AvoidedNodes | None = None,
        before_first_job: Callable[[threading.Event], Collection[str]] = lambda _: (),
        on_bad_node: Callable[[], None] = lambda: None,
        exclude_queued: Callable[[Sequence[str], Sequence[str]], None] = lambda *_: None,
        remember_nodes: Callable[[Mapping[str, str], Collection[str]], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._slurm = cluster, slurm
        self._sbatch_command, self._failure_text = sbatch_command, failure_text
        self._unfinished_calls = unfinished_calls
        self._before_first_job, self._on_bad_node = before_first_job, on_bad_node
        self._exclude_queued, self._remember_nodes = exclude_queued, remember_nodes
        self._report, self._clock = ThrottledMessages(say, clock), clock
        nodes = nodes or AvoidedNodes(most_queued=limits.max_jobs)
        self._state = PoolState(limits, expected_calls=expected_calls, nodes=nodes)
        self._state.adopt(adopted or {}, clock())
        self._changed = threading.Condition()
        """Held whenever the state is read or written."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="job-pool", daemon=True)

    def start(self) -> None:
        """Begin to submit jobs."""
        self._thread.start()

    def close(self) -> None:
        """Give all jobs up, once: the queued are cancelled, workers are told to close."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            actions = self._state.release(list(self._state.jobs.values()), self._clock())
        with contextlib.suppress(SlurmError):  # the flow's guard cancels what is left
            self._perform(actions)
        self._pass_node_news()

    @contextmanager
    def acquire(
        self, stop: threading.Event, scene: str = "", sharing: GpuSharing = UNSHARED
    ) -> Iterator[Job]:
        """Wait for a job and hold it for the length of the context.

        `sharing` says beside how many others the scene may be there, and is told when it is. Raises
        StoppedError once `stop` is set, JobsError when no job can be had.
        """
        job = self._wait_for_job(stop, scene, sharing)
        try:
            yield job
        finally:
            with self._changed:
                actions = self._state.give_back(job, self._clock())
                self._changed.notify_all()
            self._perform(actions)

    def take_adopted(self, job_id: str) -> Job | None:
        """Return the adopted job of that id while it trains its scene; None without one."""
        with self._changed:
            return self._state.take_adopted(job_id)

    def end_adopted(self, job: Job) -> bool:
        """Have Slurm end an adopted job whose scene is not to go on; return whether it answered."""
        try:
            self._slurm.cancel([job.job_id])
        except SlurmError as error:
            self._report("slurm", f"Slurm does not answer as it should: {error}")
            return False
        job.cancelled = True
        return True

    def adopted_scene_ended(self, job: Job, *, may_join: bool) -> None:
        """Note that the scene of an adopted job has ended; whether its worker may join."""
        with self._changed:
            actions = self._state.adopted_scene_ended(job, self._clock(), may_join=may_join)
            self._changed.notify_all()
        self._perform(actions)

    def wait_for_end(self, job: Job, stop: threading.Event) -> JobEnd | None:
        """Return how Slurm says a lost job ended; None when it does not say so in time.

        None also for a job that the pool itself has cancelled. Raises StoppedError once `stop` is
        set.
        """
        with self._changed:
            ends = self._state.awaited_ends
            deadline = self._clock() + END_PATIENCE_S
            while ends.setdefault(job.job_id, None) is None and self._clock() <= deadline:
                if stop.is_set():
                    raise StoppedError(f"the flow stopped while {job} ended")
                self._changed.wait(TICK_S)
                if job.name in self._state.jobs:  # it is still in Slurm's queue
                    deadline = self._clock() + END_PATIENCE_S
            end = ends[job.job_id]
            if end is None:  # an answer stays for the other scenes that the job had
                del ends[job.job_id]
        return None if job.cancelled else end

    def avoid_node(self, node: str) -> None:
        """Ask for no further job on a node that has failed, for a while."""
        self._on_bad_node()
        with self._changed:
            self._state.nodes.avoid_lost(node, self._clock())

    def worker_joined(self, name: str, address: str, extra: Mapping[str, Any]) -> bool:
        """Take a job's worker (called by Dask's scheduler); return False for one not wanted."""
        with self._changed:
            is_wanted = self._state.worker_joined(name, address, extra, self._clock())
            self._changed.notify_all()
        return is_wanted

    def worker_left(self, name: str) -> None:
        """Note that a job's worker has closed or is lost (called by Dask's scheduler)."""
        with self._changed:
            self._state.worker_left(name, self._clock())
            self._changed.notify_all()

    def poll_once(self) -> None:
        """Ask Slurm what is due, then submit and release jobs; without its answer do nothing."""
        try:
            with self._changed:
                query = self._state.next_query(self._clock())
            if query is not None:
                self._ask(query)
            self._fail_without_node()
            with self._changed:
                actions = self._state.balance(self._unfinished_calls(), self._clock())
            self._perform(actions)
            self._pass_node_news()
        except SlurmError as error:
            self._report("slurm", f"Slurm does not answer as it should: {error}")
        except Exception as error:  # noqa: BLE001 - else calls would wait for ever
            self._fail(str(error) or type(error).__name__)

    def _poll(self) -> None:
        try:
            bad = self._before_first_job(self._closing)
            with self._changed:
                self._state.nodes.avoid_bad(bad, self._clock(), is_certain=True)
        except StoppedError:
            return
        except Exception as error:  # noqa: BLE001 - else calls would wait for ever
            self._fail(str(error) or type(error).__name__)
        while not self._closing.is_set():
            self.poll_once()
            self._closing.wait(TICK_S)

    def _wait_for_job(self, stop: threading.Event, scene: str, sharing: GpuSharing) -> Job:
        alone = sharing.is_alone(scene)
        with self._changed:
            self._state.call_came(alone=alone)
            try:
                while (job := self._take_free_job(scene, sharing)) is None:
                    if stop.is_set():
                        raise StoppedError("the flow stopped while this waited for a job")
                    if self._state.failure:
                        raise JobsError(self._state.failure)
                    self._changed.wait(TICK_S)
            finally:
                self._state.call_left(alone=alone)
            return job

    def _take_free_job(self, scene: str, sharing: GpuSharing) -> Job | None:
        self._state.bound = sharing.bound
        bound = sharing.bound_of(scene)
        job = self._state.take_free_job(self._clock(), bound)
        if job is not None:
            sharing.started(scene, bound)
        return job

    def _ask(self, query: Query) -> None:
        if query.ended_jobs:
            self._record_ends(self._slurm.job_ends(query.ended_jobs))
            return
        queue = jobs_in_queue(self._slurm.my_jobs())
        with self._changed:
            actions = self._state.record_queue(queue, self._clock())
        self._perform(actions)

    def _record_ends(self, ends: Mapping[str, JobEnd]) -> None:
        with self._changed:
            known = set(self._state.nodes.bad)
            failed = self._state.record_ends(ends, self._clock())
            has_failed_starts = self._state.nodes.has_failed_starts
            bad, queued = self._state.nodes.bad, self._state.queued_ids()
            avoided = self._state.nodes.names(self._clock())
            self._changed.notify_all()
        if has_failed_starts:
            self._on_bad_node()
        if failed:
            self._fail(self._failure_text(failed))
        elif set(bad) - known:
            self._avoid_early_ends(avoided, set(bad) - known, queued)

    def _avoid_early_ends(
        self, avoided: Sequence[str], new: Collection[str], queued: Sequence[str]
    ) -> None:
        """Say that jobs ended early on nodes, and keep the queued ones off all avoided nodes."""
        for node in sorted(new):
            self._report(f"bad node {node}", f"node {node} is avoided: {EARLY_END}")
        if queued:
            with contextlib.suppress(SlurmError):  # some have begun meanwhile
                self._exclude_queued(queued, avoided)

    def _fail_without_node(self) -> None:
        """Have calls fail where only bad nodes are left, with what the jobs there have printed."""
        with self._changed:
            if self._state.failure or not self._state.has_no_node:
                return
            bad, jobs = self._state.nodes.bad, self._state.nodes.failed_jobs
        self._fail(
            "\n".join([str(no_node_left(bad)), *([self._failure_text(jobs)] if jobs else [])])
        )

    def _pass_node_news(self) -> None:
        with self._changed:
            bad, started_on = self._state.nodes.take_news()
        if bad or started_on:
            self._remember_nodes(bad, started_on)

    def _perform(self, actions: Actions) -> None:
        """Carry out what the state has decided; not under the lock, which workers wait for."""
        if actions.drop:
            self._cluster.drop(actions.drop)
        if actions.cancel:
            self._slurm.cancel(actions.cancel)
        if actions.notice:
            self._report(*actions.notice)
        if actions.submit:
            self._submit(actions.submit, actions.exclude)

    def _submit(self, names: Sequence[str], exclude: Sequence[str]) -> None:
        commands = {name: self._sbatch_command(name, exclude) for name in names}
        submitted = self._cluster.add_jobs(commands)
        with self._changed:
            actions = self._state.record_submission(submitted, exclude, self._clock())
            self._changed.notify_all()
        self._perform(actions)

    def _fail(self, why: str) -> None:
        with self._changed:
            self._state.failure = why
            self._changed.notify_all()
