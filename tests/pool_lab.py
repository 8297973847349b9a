"""A pool's decisions without threads, clock or Slurm: jobs that are submitted and get workers."""

from __future__ import annotations

from dataclasses import dataclass

from flows.slurm.job import PoolLimits
from flows.slurm.pool_state import PoolState
from training.slurm.parsers import QueuedJob

WALLTIME_S, MIN_REMAINING_S, EXIT_GRACE_S = 1000.0, 400.0, 60.0
LATER = 10.0
"""After the time in which a job may be missing from Slurm's answer."""


@dataclass
class Submitted:
    """Slurm's answer to a submission."""

    job_id: str = ""
    refusal: Exception | None = None


class Pool(PoolState):
    """A state whose jobs are submitted and get workers in one step; job `w1` has id `1`."""

    def submit(self, count, now=0.0, unfinished=9):
        """Submit the jobs that so many waiting calls need; return what was to be done."""
        self.waiting_calls = count
        actions = self.balance(unfinished, now)
        accepted = {name: Submitted(name[1:]) for name in actions.submit}
        self.record_submission(accepted, actions.exclude, now)
        return actions

    def refuse(self, refusal, now=0.0):
        """Have the job of one call refused; return what was to be done before and after."""
        self.waiting_calls = 1
        actions = self.balance(9, now)
        refused = {name: Submitted(refusal=refusal) for name in actions.submit}
        return actions, self.record_submission(refused, actions.exclude, now)

    def join(self, name, now=0.0, node="n1", age_s=0.0):
        """Have a job's worker join; return whether it is wanted."""
        extra = {"job_id": name[1:], "node": node, "age_s": age_s}
        return self.worker_joined(name, f"tls://{name}", extra, now)

    def states(self):
        """Return the states of the jobs by name."""
        return {job.name: job.state for job in self.jobs.values()}


def make_pool(max_jobs=2, scenes_per_job=1, scenes_per_gpu=1):
    """Return a pool without jobs."""
    limits = PoolLimits(
        "w",
        max_jobs,
        max(scenes_per_job, scenes_per_gpu),
        WALLTIME_S,
        MIN_REMAINING_S,
        EXIT_GRACE_S,
        scenes_per_gpu=scenes_per_gpu,
    )
    return Pool(limits)


def queue_of(**states):
    """Return Slurm's queue: `queue_of(w1="PENDING")` has the job of worker w1."""
    rows = [
        QueuedJob(name[1:], name[1:], "", None, name, state, "Priority", "", 0, 0, "")
        for name, state in states.items()
    ]
    return {row.job_id: row for row in rows}
