"""Jobs for scenes: as many as are wanted, each lent to one scene at a time, the lost replaced."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from flows.slurm_word import Pace, Slurm, still_there, waiting_for
from flows.workers import StoppedError
from training.slurm.client import SlurmAwayError, SlurmError, SlurmRefusedError
from training.slurm.words import JobEnd

TICK_S = 0.2
PATIENCE_S = 60.0
"""How long Slurm may take to say how a lost job ended."""
UNSEEN_S = 5.0
"""A job so young may not be in Slurm's answer yet."""
LINGERS_S = 20.0
"""A job whose worker left so long ago is cancelled: nothing of it may go on."""
FAILED_STARTS = 3
"""So many jobs in a row that end before their worker came: something is wrong with all of them."""
REFUSED_S = 60.0
TELL_S = 60.0

State = Literal["queued", "free", "busy", "leaving", "lost"]


class JobsError(Exception):
    """No job can be had: what Slurm or the jobs' logs say, and the remedy."""


class Cluster(Protocol):
    """What the pool needs of `flows.slurm_cluster.SlurmWorkerCluster`."""

    def add_jobs(self, commands: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
        """Submit jobs by worker name; each has `job_id` or `refusal` then."""
        ...

    def drop(self, names: Sequence[str]) -> None:
        """Forget jobs and have their workers close."""
        ...


@dataclass
class Job:
    """One Slurm job with one Dask worker, which is lent to one scene after another."""

    name: str
    scenes_left: int
    job_id: str = ""
    state: State = "queued"
    since: float = field(default_factory=time.monotonic)
    """When it came to this state."""
    address: str = ""
    node: str = ""
    ends_at: float = 0.0
    lost: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        where = f" on {self.node}" if self.node else ""
        return f"Slurm job {self.job_id}{where}"

    def go_to(self, state: State) -> None:
        """Change its state."""
        self.state, self.since = state, time.monotonic()


@dataclass(frozen=True)
class Terms:
    """What jobs are asked for."""

    command: Callable[[str, Sequence[str]], Sequence[str]]
    """The `sbatch` line of a worker's name, not on these nodes."""
    prefix: str
    bound: int
    scenes_per_job: int
    walltime_s: float
    needed_s: float
    """A job with less time left gets no further scene."""
    last_words: Callable[[Sequence[str]], str]
    """What the logs of jobs, by their ids, say."""


class JobPool:
    """Lends jobs; `unfinished` says how many calls have not ended, those to come included."""

    def __init__(
        self,
        cluster: Cluster,
        slurm: Slurm,
        terms: Terms,
        unfinished: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._cluster, self._slurm, self._terms = cluster, slurm, terms
        self._unfinished, self._say = unfinished, say
        self._jobs: dict[str, Job] = {}
        self._ends: dict[str, JobEnd | None] = {}
        """Of lost jobs: None until Slurm has said how they ended."""
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._failure: JobsError | None = None
        self._failed_starts: list[str] = []
        self._excluded: frozenset[str] = frozenset()
        self._refused_until = float("-inf")
        self._pace = Pace()
        self._asked_queue = False
        self._told = ("", float("-inf"))
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
            self._let_go(list(self._jobs.values()))

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
        """How Slurm says a lost job ended; None when it has not said so within its patience."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while self._ends.setdefault(job.job_id, None) is None:
                if stop.is_set() or time.monotonic() > deadline:
                    break
                self._changed.wait(TICK_S)
            return self._ends.pop(job.job_id)

    def avoid(self, node: str) -> None:
        """Ask for no further job on a node."""
        with self._changed:
            self._excluded |= {node}

    def worker_came(self, name: str, address: str, extra: Mapping[str, Any]) -> None:
        """A job has begun and its worker is there (called by Dask's scheduler)."""
        with self._changed:
            if (job := self._jobs.get(name)) is None:
                return
            job.address, job.node = address, str(extra.get("node", ""))
            job.job_id = str(extra.get("job_id", job.job_id))
            job.ends_at = time.monotonic() + self._terms.walltime_s - extra.get("age_s", 0.0)
            job.go_to("free")
            self._failed_starts.clear()
            self._changed.notify_all()

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
            while True:
                if stop.is_set():
                    raise StoppedError("the flow stopped while this waited for a job")
                if self._failure is not None:
                    raise self._failure
                free = [job for job in self._jobs.values() if job.state == "free"]
                if free:
                    best = min(free, key=lambda job: job.node in self._excluded)
                    best.go_to("busy")
                    return best
                self._changed.wait(TICK_S)

    def _give_back(self, job: Job) -> None:
        with self._changed:
            job.scenes_left -= 1
            if job.state != "busy":
                return
            time_left = job.ends_at - time.monotonic()
            if job.scenes_left > 0 and time_left >= self._terms.needed_s:
                job.go_to("free")
                self._changed.notify_all()
                return
        self._let_go([job])

    def _let_go(self, jobs: Sequence[Job]) -> None:
        """Workers close, which ends their jobs; queued jobs are cancelled."""
        with self._changed:
            queued = [job.job_id for job in jobs if job.state == "queued" and job.job_id]
            for job in jobs:
                job.go_to("leaving")
        self._cluster.drop([job.name for job in jobs])
        if queued:
            self._slurm.cancel(queued)

    def _keep(self) -> None:
        """Keep wanted against living, until closed; a controller that is away changes nothing."""
        while not self._closing.wait(TICK_S):
            try:
                self._ask_slurm()
                self._replace()
            except SlurmAwayError:
                continue
            except (SlurmError, JobsError) as error:
                self._fail(str(error))

    def _fail(self, why: str) -> None:
        with self._changed:
            self._failure = JobsError(why)
            self._changed.notify_all()

    def _replace(self) -> None:
        """Submit what is wanted and not there; give back what nobody waits for."""
        with self._changed:
            jobs = list(self._jobs.values())
            wanted = min(self._terms.bound, self._unfinished())
            active = [job for job in jobs if job.state in {"queued", "free", "busy"}]
            surplus = _surplus(active, len(active) - wanted)
            held_back = self._failure is not None or time.monotonic() < self._refused_until
        if surplus:
            self._let_go(surplus)
        elif not held_back and len(jobs) < self._terms.bound:
            self._submit(min(wanted - len(active), self._terms.bound - len(jobs)))

    def _submit(self, count: int) -> None:
        names = [f"{self._terms.prefix}{next(self._numbers)}" for _ in range(count)]
        if not names:
            return
        with self._changed:  # before the submit: a worker may come before it returns
            self._jobs.update({name: Job(name, self._terms.scenes_per_job) for name in names})
            excluded = self._excluded
        self._pace.news = time.monotonic()
        submitted = self._cluster.add_jobs(
            {name: self._terms.command(name, sorted(excluded)) for name in names}
        )
        refused = {name: job.refusal for name, job in submitted.items() if job.refusal}
        with self._changed:
            for name, job in submitted.items():
                self._jobs[name].job_id = job.job_id
            for name in refused:
                del self._jobs[name]
        self._cluster.drop(list(refused))
        if refused:
            self._refused(next(iter(refused.values())), excluded)

    def _refused(self, refusal: SlurmError, excluded: frozenset[str]) -> None:
        """What a refusal means: no node is left, or nothing can be had, or wait for our turn."""
        if excluded:
            self._excluded = frozenset()
        elif isinstance(refusal, SlurmRefusedError) and not self._jobs:
            raise JobsError(str(refusal))
        else:
            self._refused_until = time.monotonic() + REFUSED_S
            self._say(f"Slurm takes no more jobs for now: {refusal}")

    def _ask_slurm(self) -> None:
        """At most one query: about the ends of lost jobs, or about the queue."""
        with self._changed:
            unexplained = [job_id for job_id, end in self._ends.items() if end is None]
            watched = [job for job in self._jobs.values() if job.state not in {"free", "busy"}]
            ending = any(job.state in {"lost", "leaving"} for job in watched)
        if not (unexplained or watched):
            return
        if not self._pace.is_due(urgent=bool(unexplained) or ending):
            return
        about_ends = bool(unexplained) and (self._asked_queue or not watched)
        self._asked_queue = not about_ends
        if about_ends:
            self._hear(self._slurm.job_ends(unexplained))
        else:
            self._look_at_queue(watched)

    def _hear(self, ends: Mapping[str, JobEnd]) -> None:
        with self._changed:
            self._ends.update(ends)
            self._changed.notify_all()

    def _look_at_queue(self, watched: Sequence[Job]) -> None:
        rows = still_there(self._slurm.my_jobs())
        now = time.monotonic()
        old = [job for job in watched if job.job_id and now - job.since > UNSEEN_S]
        gone = [job for job in watched if job.job_id and job.job_id not in rows]
        gone = [job for job in gone if job.state != "queued" or job in old]
        with self._changed:
            never_came = [job for job in gone if job.state == "queued"]
            for job in gone:
                self._jobs.pop(job.name, None)
        self._cluster.drop([job.name for job in gone])
        lingering = [job for job in watched if job.state in {"lost", "leaving"}]
        lingering = [job for job in lingering if now - job.since > LINGERS_S and job not in gone]
        if lingering:
            self._slurm.cancel([job.job_id for job in lingering])
        self._tell(waiting_for(rows[job.job_id] for job in watched if job.job_id in rows))
        self._count_failed_starts(never_came)

    def _tell(self, text: str) -> None:
        """Say what the queue is like, when that changes and not too often."""
        told, when = self._told
        if text and text != told and time.monotonic() - when > TELL_S:
            self._told = (text, time.monotonic())
            self._say(text)

    def _count_failed_starts(self, never_came: Sequence[Job]) -> None:
        self._failed_starts += [job.job_id for job in never_came]
        if len(self._failed_starts) >= FAILED_STARTS:
            raise JobsError(self._terms.last_words(self._failed_starts[-FAILED_STARTS:]))


def _surplus(active: Sequence[Job], count: int) -> list[Job]:
    """Of too many jobs those to give back: idle ones first, then the last in the queue."""
    idle = [job for job in active if job.state == "free"]
    queued = [job for job in reversed(active) if job.state == "queued"]
    return (idle + queued)[: max(0, count)]
