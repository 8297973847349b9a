"""A fake Slurm, a clock that the test moves, and calls on threads, for tests of the job pool."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flows.slurm.job import PoolLimits
from flows.slurm.job_pool import JobPool
from training.slurm.client import SlurmAwayError, SlurmRefusedError
from training.slurm.job_states import JobEnd
from training.slurm.parsers import QueuedJob

WALLTIME_S, NEEDED_S = 1000.0, 400.0


@dataclass
class Submitted:
    """A job of the fake Slurm, and what the cluster knows of its submission."""

    name: str
    node: str
    job_id: str = ""
    refusal: Exception | None = None
    state: str = "PENDING"
    reason: str = "Resources"

    def row(self) -> QueuedJob:
        node = self.node if self.state == "RUNNING" else ""
        return QueuedJob(
            self.job_id, self.job_id, "", None, self.name, self.state, self.reason, node, 0, 0, ""
        )


class FakeSlurm:
    """Slurm and a Dask cluster: the test starts jobs; a job ends when its worker closes.

    `refuses` (True, or "excluded": only with excluded nodes), `away` and `forgets` (no answer how
    jobs ended) are its faults.
    """

    def __init__(self, clock) -> None:
        self.clock, self.numbers = clock, itertools.count(1)
        self.jobs: dict[str, Submitted] = {}
        self.queries: list[float] = []
        self.cancelled: list[str] = []
        self.dropped: list[str] = []
        self.excluded: list[tuple[str, ...]] = []
        self.refuses = self.away = self.forgets = False
        self.why_refused = "Invalid qos"
        self.pool: JobPool

    def _ask(self) -> None:
        self.queries.append(self.clock())
        if self.away:
            raise SlurmAwayError("squeue: Unable to contact slurm controller")

    def my_jobs(self) -> list[QueuedJob]:
        self._ask()
        return [job.row() for job in self.living]

    def job_ends(self, job_ids) -> dict[str, JobEnd]:
        self._ask()
        ended = [job for job in self.jobs.values() if job not in self.living and not self.forgets]
        ends = {job.job_id: JobEnd(job.job_id, job.state, node=job.node) for job in ended}
        return {job_id: ends[job_id] for job_id in job_ids if job_id in ends}

    def cancel(self, job_ids) -> None:
        self.cancelled += job_ids
        for job in self.living:
            if job.job_id in job_ids:
                job.state = "CANCELLED"

    @property
    def living(self) -> list[Submitted]:
        return [job for job in self.jobs.values() if job.state in {"PENDING", "RUNNING"}]

    def add_jobs(self, commands) -> dict[str, Submitted]:
        made = {}
        for name, excluded in commands.items():
            self.excluded.append(tuple(excluded))
            number = next(self.numbers)
            made[name] = Submitted(name, f"n{number}", str(number))
            if self.refuses and (self.refuses is True or excluded):
                made[name] = Submitted(name, "", refusal=SlurmRefusedError(self.why_refused))
            else:
                self.jobs[name] = made[name]
        return made

    def drop(self, names) -> None:
        self.dropped += names
        for name in names:
            if name in self.jobs and self.jobs[name].state == "RUNNING":
                self.jobs[name].state = "COMPLETED"
                self.pool.worker_left(name)

    def start(self, *names: str, age_s: float = 0.0) -> None:
        for name in names:
            self.jobs[name].state = "RUNNING"
            about = {"job_id": self.jobs[name].job_id, "node": self.jobs[name].node}
            self.pool.worker_joined(name, f"tls://{name}", {**about, "age_s": age_s})

    def end(self, name: str, state: str) -> None:
        """End a job, whether its worker has joined or not."""
        had_worker = self.jobs[name].state == "RUNNING"
        self.jobs[name].state = state
        if had_worker:
            self.pool.worker_left(name)


class Bench:
    """A pool whose thread is not started, its Slurm, and calls that want jobs."""

    def __init__(
        self, eventually, max_jobs: int, scenes_per_job: int, expected_calls: int = 0
    ) -> None:
        self.now, self.unfinished, self.eventually = 0.0, 0, eventually
        self.slurm, self.messages = FakeSlurm(lambda: self.now), []
        self.stop, self.threads = threading.Event(), ThreadPoolExecutor(10)
        self.bad_nodes, self.news, self.kept_off = 0, [], []
        limits = PoolLimits(
            prefix="w",
            max_jobs=max_jobs,
            scenes_per_job=scenes_per_job,
            walltime_s=WALLTIME_S,
            min_remaining_s=NEEDED_S,
            exit_grace_s=60.0,
        )
        self.pool = JobPool(
            self.slurm,
            self.slurm,
            limits,
            sbatch_command=lambda _, excluded: excluded,
            failure_text=lambda job_ids: f"jobs {', '.join(job_ids)}: no such file",
            unfinished_calls=lambda: self.unfinished,
            say=self.messages.append,
            expected_calls=expected_calls,
            on_bad_node=self._count_bad_node,
            exclude_queued=lambda *about: self.kept_off.append(about),
            remember_nodes=lambda *news: self.news.append(news),
            clock=lambda: self.now,
        )
        self.slurm.pool = self.pool

    def _count_bad_node(self) -> None:
        self.bad_nodes += 1

    def calls(self, count: int = 1) -> list[Call]:
        """Start calls and return once all of them wait for a job."""
        before = self.pool._state.waiting_calls
        made = [Call(self) for _ in range(count)]
        self.eventually(
            lambda: self.pool._state.waiting_calls == before + count, "all calls to wait"
        )
        return made

    def with_jobs(self, calls: list[Call], count: int) -> list[Call]:
        """Return the calls that have a job, once they are so many."""

        def found():
            having = [call for call in calls if call.job and not call.future.done()]
            return having if len(having) == count else None

        return self.eventually(found, f"{count} calls with a job")

    def advance(self, seconds: float) -> None:
        """Move the clock in steps of the pool's tick, and let it poll at each."""
        for _ in range(round(seconds / 0.2)):
            self.now += 0.2
            self.pool.poll_once()

    @property
    def in_queue(self) -> list[str]:
        return [job.name for job in self.slurm.living]


class Call:
    """A call on a thread of its own: it waits for a job and holds it until `end`."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.job, self.go = bench, None, threading.Event()
        bench.unfinished += 1
        self.future = bench.threads.submit(self._run)

    def _run(self) -> None:
        with self.bench.pool.acquire(self.bench.stop) as self.job:
            assert self.go.wait(30)

    def end(self) -> None:
        self.go.set()
        self.future.result(30)
        self.bench.unfinished -= 1
