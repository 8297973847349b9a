"""The pool's data and decisions: Slurm's answers and the time go in, what to do comes out.

Nothing here starts a thread, takes a lock, reads a clock or calls Slurm; `flows.slurm.job_pool`
does, and carries out the returned `Actions`. All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.slurm.avoided_nodes import AvoidedNodes
from flows.slurm.job import UNSEEN_S, Job, PoolLimits, name_of_adopted
from flows.slurm.polling import PollThrottle, pending_summary
from flows.slurm.pool_actions import Actions, Query, Submission
from training.jobs.sbatch_check import NOT_AVAILABLE
from training.slurm.bad_nodes import used_again_text
from training.slurm.client import SlurmError, SlurmRefusedError
from training.slurm.job_states import JobEnd
from training.slurm.parsers import QueuedJob

END_PATIENCE_S = 60.0
"""How long Slurm may take to say how a job that is gone has ended."""
EXIT_S = 0.7
"""A job whose worker closes needs so long to end; asked sooner, Slurm would still show it."""
REFUSAL_PAUSE_S = 60.0
MAX_REFUSALS = 10
"""Refusals in a row after which a pool gives up that has had workers before."""
BAD_CONSTRAINTS = "BadConstraints"
"""Slurm's reason for a queued job that none of the nodes that are left can ever run."""


@dataclass
class PoolState:
    """What a pool knows of its jobs, of the calls that wait for them, and of Slurm."""

    limits: PoolLimits
    jobs: dict[str, Job] = field(default_factory=dict)
    """By worker name, until Slurm's queue does not show them any more."""
    waiting_calls: int = 0
    waiting_alone: int = 0
    """How many of them wait for a job without another scene."""
    bound: int = field(init=False)
    """How many scenes run at once in a job, unless one is to be alone."""
    expected_calls: int = 0
    """Calls that are sure to come at once and have not come yet: jobs are submitted for them."""
    nodes: AvoidedNodes = field(default_factory=AvoidedNodes)
    has_no_node: bool = False
    """Whether Slurm has no other node for a job than bad ones."""
    failure: str = ""
    """Why no job can be had any more; empty while jobs can be had."""
    awaited_ends: dict[str, JobEnd | None] = field(default_factory=dict)
    """How lost jobs ended, by id, where a call waits for it; None until Slurm has said so."""
    unexplained_exits: dict[str, float] = field(default_factory=dict)
    """Jobs, by id, that are gone although their workers never joined: since when."""
    throttle: PollThrottle = field(default_factory=PollThrottle)
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _had_workers: bool = False
    _refusals: int = 0
    _refused_until: float = float("-inf")
    _asked_for_queue: bool = False

    def __post_init__(self) -> None:
        self.bound = self.limits.scenes_per_gpu

    # What calls and workers change

    def adopt(self, scenes: Mapping[str, int], now: float) -> None:
        """Take over jobs, by id, that train so many scenes of ours already."""
        for job_id, running in scenes.items():
            name = name_of_adopted(job_id)
            count = self.limits.scenes_per_job
            self.jobs[name] = Job(name, count, now, job_id, "adopted", running=running)

    def call_came(self, *, alone: bool = False) -> None:
        """Note that a call waits for a job; `alone`: for one without another scene."""
        self.waiting_calls += 1
        self.waiting_alone += alone
        self.expected_calls = max(0, self.expected_calls - 1)

    def call_left(self, *, alone: bool = False) -> None:
        """Note that a call waits no longer."""
        self.waiting_calls -= 1
        self.waiting_alone -= alone

    def take_free_job(self, now: float, bound: int = 1) -> Job | None:
        """Give a job to a call that allows so many scenes in it at once.

        Rather one on a node that is not avoided, and of those the one with the most scenes.
        """
        avoided = self.nodes.names(now)
        usable = [job for job in self._jobs_with_time(now) if job.room(bound)]
        job = min(usable, key=lambda job: (job.node in avoided, -job.running), default=None)
        if job is None:
            return None
        if job.scenes_left == self.limits.scenes_per_job:
            job.first_given_at = now
        job.give(bound, now)
        return job

    def give_back(self, job: Job, now: float) -> Actions:
        """Take a job back from its call; it is released when it can hold no further scene."""
        job.running -= 1
        if not job.has_worker:
            return Actions()
        if job.has_place(self.limits, now):
            job.move_to("free", now)
        elif job.running:
            job.move_to("busy", now)
        else:
            return self.release([job], now)
        return Actions()

    def release(self, jobs: Collection[Job], now: float) -> Actions:
        """Give jobs up: workers close, which ends their jobs; those without are cancelled."""
        without = {"queued", "adopted"}
        queued = tuple(job.job_id for job in jobs if job.state in without and job.job_id)
        for job in jobs:
            job.move_to("leaving", now)
        return Actions(drop=tuple(job.name for job in jobs), cancel=queued)

    def worker_joined(self, name: str, address: str, extra: Mapping[str, Any], now: float) -> bool:
        """Note that a job's worker is there; return False for one that is not wanted.

        Its job was given up meanwhile, was submitted although Slurm seemed to refuse it, or was
        adopted and can hold no further scene.
        """
        job = self.jobs.get(name)
        if job is None or not (job.state in {"queued", "adopted"} or job.may_join):
            return False
        job.address, job.node = address, str(extra.get("node", ""))
        job.job_id = str(extra.get("job_id", job.job_id))
        walltime_s = extra.get("walltime_s", self.limits.walltime_s)
        job.ends_at = now + walltime_s - extra.get("age_s", 0.0)
        job.scenes_left -= extra.get("scenes", 0)
        self._had_workers = True
        self.nodes.record_start(job.node)
        if job.state == "adopted":  # who follows its scene will soon see that it has ended
            return True
        job.may_join = False
        if not job.has_place(self.limits, now):
            return False
        job.move_to("free", now)
        return True

    def take_adopted(self, job_id: str) -> Job | None:
        """Return the adopted job of that id while it trains its scene; None without one."""
        job = self.jobs.get(name_of_adopted(job_id)) if job_id else None
        return job if job and job.state == "adopted" else None

    def adopted_scene_ended(self, job: Job, now: float, *, may_join: bool) -> Actions:
        """Note that a scene of an adopted job has ended; after the last one its worker may join."""
        if job.state != "adopted":
            return Actions()
        job.running -= 1
        job.is_welcome = job.is_welcome and may_join
        if job.running:
            return Actions()
        if not job.address:
            job.may_join = job.is_welcome
            job.move_to("leaving", now)
            return Actions()
        job.move_to("free", now)
        if job.is_welcome and job.has_place(self.limits, now):
            return Actions()
        return self.release([job], now)

    def worker_left(self, name: str, now: float) -> None:
        """Note that a worker has closed or is lost, and its job with it, or soon."""
        job = self.jobs.get(name)
        if job is not None and job.has_worker:
            job.move_to("lost", now)
            job.lost.set()
        elif job is not None and job.state == "adopted":
            job.address = ""

    def queued_ids(self) -> tuple[str, ...]:
        """Return the ids of the jobs in Slurm's queue, which may yet begin on any node."""
        queued = (job for job in self.jobs.values() if job.state == "queued")
        return tuple(job.job_id for job in queued if job.job_id)

    # What to ask Slurm, and what its answers mean

    def next_query(self, now: float) -> Query | None:
        """Return what to ask Slurm now, at most one question: queue and ends take turns.

        None while nothing is open or Slurm was asked a moment ago.
        """
        ended, watched = self._ended_jobs(), self._watched_jobs()
        ending = (job for job in watched if job.state not in {"queued", "adopted"})
        is_ending = any(now - job.since > EXIT_S for job in ending)
        if not (ended or watched):
            return None
        if not self.throttle.is_due(now, urgent=bool(ended) or is_ending):
            return None
        self._asked_for_queue = not ended or (bool(watched) and not self._asked_for_queue)
        return Query() if self._asked_for_queue else Query(ended)

    def record_queue(self, queue: Mapping[str, QueuedJob], now: float) -> Actions:
        """Compare the jobs with Slurm's queue (by id): forget those that are gone from it.

        One that has been leaving for too long is cancelled; what waits is reported.
        """
        gone = [job for job in self._watched_jobs() if job.is_gone(queue, now)]
        for job in gone:
            del self.jobs[job.name]
            if job.state == "queued":
                self.unexplained_exits[job.job_id] = now
            job.lost.set()
        replaced, why_replaced = self._without_node(queue, now)
        overdue = [job for job in self._watched_jobs() if job.is_overdue(self.limits, now)]
        for job in overdue:
            job.cancelled = True
            job.move_to("leaving", now)
        return Actions(
            drop=(*(job.name for job in gone), *replaced.drop),
            cancel=(*(job.job_id for job in overdue), *replaced.cancel),
            notice=why_replaced or self._queue_notice(queue, now),
        )

    def _without_node(
        self, queue: Mapping[str, QueuedJob], now: float
    ) -> tuple[Actions, tuple[str, str] | None]:
        """Give up queued jobs that only bad nodes could run, where those may be used again."""
        queued = [job for job in self.jobs.values() if job.state == "queued"]
        stuck = [
            job
            for job in queued
            if job.job_id in queue and queue[job.job_id].reason == BAD_CONSTRAINTS
        ]
        if not stuck or not self.nodes.bad:
            return Actions(), None
        notice = self._use_bad_nodes_again(self.nodes.bad)
        return (self.release(stuck, now) if notice else Actions()), notice

    def _use_bad_nodes_again(self, excluded: Collection[str]) -> tuple[str, str] | None:
        """Use bad nodes again, and return what to say; note that no node is left where none may."""
        again = self.nodes.use_again(excluded)
        self.has_no_node = not again
        return ("bad nodes", used_again_text(again)) if again else None

    def record_ends(self, ends: Mapping[str, JobEnd], now: float) -> tuple[str, ...]:
        """Take Slurm's answer how jobs ended.

        Nodes are avoided where jobs ended before their workers joined. Returns the ids of such
        jobs once no node is at fault: their logs say why no job can be had.
        """
        self.awaited_ends.update({key: ends[key] for key in ends if key in self.awaited_ends})
        explained = [each for each in self.unexplained_exits if each in ends]
        given_up = [
            job_id
            for job_id, since in self.unexplained_exits.items()
            if job_id not in ends and now - since > END_PATIENCE_S
        ]
        for job_id in (*explained, *given_up):
            del self.unexplained_exits[job_id]
        # A job that somebody has cancelled in the queue is no sign of a fault.
        failed = [each for each in explained if ends[each].state != "CANCELLED"]
        nodes = {job_id: ends[job_id].node for job_id in failed}
        self.nodes.record_failed_starts(nodes | dict.fromkeys(given_up, ""), now)
        return (*failed, *given_up) if self.nodes.is_hopeless else ()

    # How many jobs there should be

    def balance(self, unfinished_calls: int, now: float) -> Actions:
        """Release jobs that no call will take; else submit those that calls wait for."""
        expired = self._expired(now)
        surplus = [job for job in self._surplus(unfinished_calls, now) if job not in expired]
        if expired or surplus:
            # Calls that did not come while their jobs had time get others when they come.
            self.expected_calls = max(0, self.expected_calls - len(expired) * self.bound)
            return self.release([*surplus, *expired], now)
        # Whether a node is to be avoided is known once Slurm has said how its job ended.
        cannot = self.failure or self.has_no_node
        if cannot or self.unexplained_exits or now < self._refused_until:
            return Actions()
        return self._new_jobs(unfinished_calls, now)

    def record_submission(
        self, submitted: Mapping[str, Submission], exclude: Sequence[str], now: float
    ) -> Actions:
        """Take Slurm's answers to a submission, by worker name; refused jobs are forgotten."""
        self.throttle.asked_at = self.throttle.news_at = now
        for name, each in submitted.items():
            self.jobs[name].job_id = each.job_id
        refused = {name: each.refusal for name, each in submitted.items() if each.refusal}
        for name in refused:
            del self.jobs[name]
        if not refused:
            self._refusals = 0
            return Actions()
        notice = self._record_refusal(next(iter(refused.values())), exclude, now)
        return Actions(drop=tuple(refused), notice=notice)

    def _record_refusal(
        self, refusal: SlurmError, exclude: Sequence[str], now: float
    ) -> tuple[str, str] | None:
        """Decide what a refusal means: no node is left, no job can be had, or wait."""
        self._refusals += 1
        is_final = not self._had_workers or self._refusals >= MAX_REFUSALS
        if self.nodes.allow_lost(exclude):  # better one of them than none
            return None
        if set(exclude) & set(self.nodes.bad) and NOT_AVAILABLE in str(refusal):
            return self._use_bad_nodes_again(exclude)
        if isinstance(refusal, SlurmRefusedError) and is_final and not self.jobs:
            self.failure = str(refusal)
            return None
        self._refused_until = now + REFUSAL_PAUSE_S
        return "refusal", f"Slurm takes no more jobs for now: {refusal}"

    def _expired(self, now: float) -> list[Job]:
        """Return the jobs without a scene that have no time for one any more."""
        free = [job for job in self.jobs.values() if job.state == "free" and not job.running]
        return [job for job in free if not job.has_time(self.limits, now)]

    def _surplus(self, unfinished_calls: int, now: float) -> list[Job]:
        """Return the jobs that are more than there are calls for."""
        active = self._active_jobs()
        free = [job for job in active if job.state == "free" and not job.running]
        queued = [job for job in reversed(active) if job.state == "queued"]
        too_many = max(0, len(free + queued) - self._jobs_for(unfinished_calls, now))
        return (free + queued)[:too_many]

    def _new_jobs(self, unfinished_calls: int, now: float) -> Actions:
        """Enter the jobs that are missing; before their submission, since a worker may be quick."""
        active = self._active_jobs()
        running = sum(job.running for job in active)
        # An expected call whose task run has failed before it never comes.
        calls = min(running + self.waiting_calls + self.expected_calls, unfinished_calls)
        wanted = self._jobs_for(calls, now) - sum(not job.running for job in active)
        count = min(wanted, self.limits.max_jobs - len(self.jobs))
        names = tuple(f"{self.limits.prefix}{next(self._names)}" for _ in range(count))
        self.jobs |= {name: Job(name, self.limits.scenes_per_job, now) for name in names}
        return Actions(submit=names, exclude=self.nodes.names(now))

    def _jobs_for(self, unfinished_calls: int, now: float) -> int:
        """Return how many jobs without a scene are needed for calls that have not ended.

        Those of them that run have a job, others will find room in a job beside them.
        """
        active = self._active_jobs()
        running = sum(job.running for job in active)
        room = sum(job.room(self.bound) for job in self._jobs_with_time(now) if job.running)
        beside_others = max(0, unfinished_calls - running - self.waiting_alone - room)
        return self.waiting_alone + -(-beside_others // self.bound)

    def _jobs_with_time(self, now: float) -> list[Job]:
        having = (job for job in self.jobs.values() if job.has_worker)
        return [job for job in having if job.has_time(self.limits, now)]

    def _active_jobs(self) -> list[Job]:
        having = {"queued", "adopted"}
        return [job for job in self.jobs.values() if job.state in having or job.has_worker]

    def _watched_jobs(self) -> list[Job]:
        """Return the jobs of which only Slurm knows whether they still exist."""
        return [job for job in self.jobs.values() if not job.has_worker]

    def _ended_jobs(self) -> tuple[str, ...]:
        """Return the ids of jobs that have left the queue and whose end is not known yet."""
        present = {job.job_id for job in self.jobs.values()}
        awaited = [job_id for job_id, end in self.awaited_ends.items() if end is None]
        return (*(each for each in awaited if each not in present), *self.unexplained_exits)

    def _queue_notice(self, queue: Mapping[str, QueuedJob], now: float) -> tuple[str, str] | None:
        old = [job.job_id for job in self._watched_jobs() if now - job.since > UNSEEN_S]
        summary = pending_summary(queue[job_id] for job_id in old if job_id in queue)
        return ("queue", f"waiting for Slurm: {summary}") if summary else None
