"""Jobs for scenes: as many as are wanted, each lent to one scene at a time, the lost replaced."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from flows.runner.dispatch import JobsError, StoppedError
from flows.slurm.job import Job, PoolLimits
from flows.slurm.polling import PollThrottle, Slurm, ThrottledMessages, jobs_in_queue, waiting_for
from training.slurm.client import SlurmError, SlurmRefusedError
from training.slurm.job_states import JobEnd

TICK_S = 0.2
PATIENCE_S = 60.0
"""How long Slurm may take to say how a job that is gone has ended."""
UNSEEN_S = 2.0
"""A job so young may not be in Slurm's answer yet."""
ENDS_S = 0.7
"""What a job needs to end when its worker closes; asked sooner, Slurm would still show it."""
FAILED_STARTS = 3
"""So many times in a row jobs ended before their worker came: something is wrong with all."""
REFUSED_S = 60.0
REFUSALS = 10
"""So often Slurm may refuse, one after the other, once a worker has come."""
AVOID_S = 3600.0
"""How long a node is avoided: it may be repaired, and a small cluster has few."""


class Cluster(Protocol):
    """What the pool needs of `flows.slurm.cluster.SlurmWorkerCluster`."""

    def add_jobs(self, commands: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
        """Submit jobs by worker name; each has `job_id` or `refusal` then."""
        ...

    def drop(self, names: Sequence[str]) -> None:
        """Forget jobs and have their workers close."""
        ...


class JobPool:
    """Lends jobs; `unfinished` says how many calls have not ended, those to come included."""

    def __init__(
        self,
        cluster: Cluster,
        slurm: Slurm,
        limits: PoolLimits,
        unfinished: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._cluster, self._slurm, self._limits = cluster, slurm, limits
        self._unfinished, self._tell = unfinished, ThrottledMessages(say)
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._waiting = 0
        self._numbers = itertools.count(1)
        self._ends: dict[str, JobEnd | None] = {}
        """Of lost jobs: None until Slurm has said how they ended."""
        self._unexplained_exits: dict[str, float] = {}
        """Since when jobs are gone whose workers never came; Slurm has yet to say why."""
        self._failed_starts = 0
        self._avoided: dict[str, float] = {}
        self._failure = ""
        self._had_workers = False
        self._refusals = 0
        self._refused_until = float("-inf")
        self._pace = PollThrottle()
        self._asked_queue = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="job-pool", daemon=True)

    def start(self) -> None:
        """Begin to submit jobs."""
        self._thread.start()

    def close(self) -> None:
        """Give all jobs back: the queued are cancelled, workers are told to close."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(SlurmError):  # the flow's guard looks after what is left
            self._release(list(self._jobs.values()))

    @contextmanager
    def lend(self, stop: threading.Event) -> Iterator[Job]:
        """A job of one's own for a while; waits in Slurm's queue for it.

        Raises StoppedError once `stop` is set, JobsError when no job can be had.
        """
        job = self._take(stop)
        try:
            yield job
        finally:
            self._give_back(job)

    def end_of(self, job: Job, stop: threading.Event) -> JobEnd | None:
        """How Slurm says a lost job ended; None when it has not said so within its patience.

        Raises StoppedError once `stop` is set.
        """
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while self._ends.setdefault(job.job_id, None) is None:
                if stop.is_set():
                    raise StoppedError(f"the flow stopped while {job} ended")
                if job.name in self._jobs:
                    deadline = time.monotonic() + PATIENCE_S
                if time.monotonic() > deadline:
                    break
                self._changed.wait(TICK_S)
            end = self._ends.pop(job.job_id)
        return None if job.cancelled else end

    def avoid(self, node: str) -> None:
        """Ask for no further job on a node, for a while."""
        with self._changed:
            self._avoided[node] = time.monotonic() + AVOID_S

    def worker_came(self, name: str, address: str, extra: Mapping[str, Any]) -> bool:
        """A job has begun and its worker is there (called by Dask's scheduler); False: not wanted.

        Given back meanwhile, or submitted although Slurm did not say so.
        """
        with self._changed:
            job = self._jobs.get(name)
            if job is None or job.state != "queued":
                return False
            job.address, job.node = address, str(extra.get("node", ""))
            job.job_id = str(extra.get("job_id", job.job_id))
            job.ends_at = time.monotonic() + self._limits.walltime_s - extra.get("age_s", 0.0)
            job.go_to("free")
            self._had_workers = True
            self._failed_starts = 0
            self._changed.notify_all()
            return True

    def worker_went(self, name: str) -> None:
        """A worker has closed or is lost, and its job with it, or soon."""
        with self._changed:
            job = self._jobs.get(name)
            if job is not None and job.state in {"free", "busy"}:
                job.go_to("lost")
                job.lost.set()
                self._changed.notify_all()

    def _take(self, stop: threading.Event) -> Job:
        with self._changed:
            self._waiting += 1
            try:
                while (job := self._free_job()) is None:
                    if stop.is_set():
                        raise StoppedError("the flow stopped while this waited for a job")
                    if self._failure:
                        raise JobsError(self._failure)
                    self._changed.wait(TICK_S)
            finally:
                self._waiting -= 1
            job.go_to("busy")
            return job

    def _free_job(self) -> Job | None:
        free = [job for job in self._jobs.values() if job.state == "free" and self._has_time(job)]
        avoided = self._avoided_now()
        return min(free, key=lambda job: job.node in avoided, default=None)

    def _has_time(self, job: Job) -> bool:
        """Whether a job can hold a scene; a new one has what Slurm gave it."""
        is_new = job.scenes_left == self._limits.scenes_per_job
        return is_new or job.ends_at - time.monotonic() >= self._limits.min_remaining_s

    def _give_back(self, job: Job) -> None:
        with self._changed:
            job.scenes_left -= 1
            if job.state != "busy":
                return
            if job.scenes_left > 0 and self._has_time(job):
                job.go_to("free")
                self._changed.notify_all()
                return
        self._release([job])

    def _release(self, jobs: Sequence[Job]) -> None:
        """Workers close, which ends their jobs; queued jobs are cancelled."""
        with self._changed:
            queued = [job.job_id for job in jobs if job.state == "queued" and job.job_id]
            for job in jobs:
                job.go_to("leaving")
        self._cluster.drop([job.name for job in jobs])
        if queued:
            self._slurm.cancel(queued)

    def _keep(self) -> None:
        while not self._closing.wait(TICK_S):
            self.poll_once()

    def poll_once(self) -> None:
        """Keep wanted against living; a controller that is away changes nothing."""
        try:
            self._ask_slurm()
            self._replace()
        except SlurmError as error:
            self._tell("slurm", f"Slurm does not answer as it should: {error}")
        except Exception as error:  # noqa: BLE001 - else calls would wait for ever
            self._fail(str(error) or type(error).__name__)

    def _fail(self, why: str) -> None:
        with self._changed:
            self._failure = why
            self._changed.notify_all()

    def _replace(self) -> None:
        """Submit what calls wait for and is not there; give back what no call will take."""
        with self._changed:
            jobs = list(self._jobs.values())
            active = [job for job in jobs if job.state in {"queued", "free", "busy"}]
            idle = sum(job.state != "busy" for job in active)
            surplus = _surplus(active, len(active) - self._unfinished())
            surplus += [job for job in jobs if job.state == "free" and not self._has_time(job)]
            missing = min(self._waiting - idle, self._limits.max_jobs - len(jobs))
            # Whether a node is to be avoided is known once Slurm has said how its job ended.
            held_back = (
                self._failure or self._unexplained_exits or time.monotonic() < self._refused_until
            )
        if surplus:
            self._release(surplus)
        elif not held_back:
            self._submit(missing)

    def _submit(self, count: int) -> None:
        names = [f"{self._limits.prefix}{next(self._numbers)}" for _ in range(count)]
        if not names:
            return
        with self._changed:  # before the submit: a worker may come before it returns
            self._jobs.update({name: Job(name, self._limits.scenes_per_job) for name in names})
            avoided = self._avoided_now()
        submitted = self._cluster.add_jobs(
            {name: self._limits.command(name, avoided) for name in names}
        )
        self._pace.asked = self._pace.news = time.monotonic()
        refused = {name: job.refusal for name, job in submitted.items() if job.refusal}
        with self._changed:
            for name in names:
                self._jobs[name].job_id = submitted[name].job_id
            for name in refused:
                del self._jobs[name]
        if refused:
            self._cluster.drop(list(refused))
            self._refused(next(iter(refused.values())), avoided)
        else:
            self._refusals = 0

    def _refused(self, refusal: SlurmError, avoided: Sequence[str]) -> None:
        """What a refusal means: no node is left, or nothing can be had, or wait for our turn."""
        self._refusals += 1
        is_for_good = not self._had_workers or self._refusals >= REFUSALS
        if avoided:
            self._avoided.clear()
        elif isinstance(refusal, SlurmRefusedError) and is_for_good and not self._jobs:
            self._fail(str(refusal))
        else:
            self._refused_until = time.monotonic() + REFUSED_S
            self._tell("refusal", f"Slurm takes no more jobs for now: {refusal}")

    def _avoided_now(self) -> list[str]:
        return sorted(node for node, until in self._avoided.items() if until > time.monotonic())

    def _ask_slurm(self) -> None:
        """At most one query: about the queue, or how jobs that are gone have ended, in turn."""
        now = time.monotonic()
        with self._changed:
            there = {job.job_id for job in self._jobs.values()}
            unexplained = [job_id for job_id, end in self._ends.items() if end is None]
            gone = [
                *(job_id for job_id in unexplained if job_id not in there),
                *self._unexplained_exits,
            ]
            watched = [job for job in self._jobs.values() if job.state not in {"free", "busy"}]
            ending = any(job.state != "queued" and now - job.since > ENDS_S for job in watched)
        if not (gone or watched) or not self._pace.is_due(urgent=bool(gone) or ending):
            return
        self._asked_queue = not gone or (bool(watched) and not self._asked_queue)
        if self._asked_queue:
            self._look_at_queue(watched)
        else:
            self._record_ends(self._slurm.job_ends(gone))

    def _look_at_queue(self, watched: Sequence[Job]) -> None:
        rows = jobs_in_queue(self._slurm.my_jobs())
        now = time.monotonic()
        with self._changed:
            gone = [job for job in watched if _is_gone(job, rows)]
            self._unexplained_exits |= {job.job_id: now for job in gone if job.state == "queued"}
            for job in gone:
                self._jobs.pop(job.name, None)
            ending = [job for job in watched if job.state in {"lost", "leaving"}]
        self._cluster.drop([job.name for job in gone])
        self._end([job for job in ending if job not in gone])
        waiting = [job.job_id for job in watched if now - job.since > UNSEEN_S]
        if words := waiting_for(rows[job_id] for job_id in waiting if job_id in rows):
            self._tell("queue", f"waiting for Slurm: {words}")

    def _end(self, jobs: Sequence[Job]) -> None:
        """Cancel what should have ended by itself long ago."""
        deadline = time.monotonic() - self._limits.exit_grace_s
        overdue = [job for job in jobs if job.job_id and job.since < deadline]
        for job in overdue:
            job.cancelled = True
            job.go_to("leaving")
        if overdue:
            self._slurm.cancel([job.job_id for job in overdue])

    def _record_ends(self, ends: Mapping[str, JobEnd]) -> None:
        """Take Slurm's word for how jobs ended: lost ones, and such whose worker never came."""
        now = time.monotonic()
        with self._changed:
            self._ends.update({job_id: ends[job_id] for job_id in ends if job_id in self._ends})
            known = [
                each for each, since in self._unexplained_exits.items() if now - since > PATIENCE_S
            ]
            known += [each for each in self._unexplained_exits if each in ends]
            for job_id in known:
                self._unexplained_exits.pop(job_id, None)
            self._changed.notify_all()
        failed = [each for each in known if each not in ends or ends[each].state != "CANCELLED"]
        for node in {ends[job_id].node for job_id in failed if job_id in ends}:
            self.avoid(node)
        self._failed_starts += bool(failed)
        if self._failed_starts >= FAILED_STARTS:
            self._fail(self._limits.last_words(failed))


def _is_gone(job: Job, rows: Mapping[str, Any]) -> bool:
    """Whether a job has left Slurm's queue; one that has just been submitted may not be in it."""
    if not job.job_id or job.job_id in rows or job.state in {"free", "busy"}:
        return False
    return job.state != "queued" or time.monotonic() - job.since > UNSEEN_S


def _surplus(active: Sequence[Job], count: int) -> list[Job]:
    """Of too many jobs those to give back: idle ones first, then the last in the queue."""
    idle = [job for job in active if job.state == "free"]
    queued = [job for job in reversed(active) if job.state == "queued"]
    return (idle + queued)[: max(0, count)]
