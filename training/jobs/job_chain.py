"""The jobs of one submission in order, each with the jobs that it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from training.jobs import sbatch_commands
from training.jobs.array_chunks import ArrayChunk
from training.plan.model import Plan


@dataclass(frozen=True)
class Submission:
    """What one `--submit` submits of one plan."""

    plan: Plan
    chunks: tuple[ArrayChunk, ...]
    waits_for: tuple[str, ...] = ()
    """Array jobs of earlier submissions that have scenes of this plan; they must succeed."""
    outlives: tuple[str, ...] = ()
    """Jobs of a flow that have scenes of this plan; how they end says nothing about the scenes."""
    aggregated_by: str = ""
    """The queued job that aggregates the experiment, when no scene is left to submit."""

    stuck: tuple[str, ...] = ()
    """Jobs of earlier submissions that can never start; they are cancelled first."""

    @property
    def has_aggregate(self) -> bool:
        """Whether an aggregate job is submitted: only where the scenes' outputs are to be merged.

        A summary alone is not worth a job: `--status` and `python -m flows.report` give it.
        """
        aggregate = self.plan.aggregate
        return aggregate is not None and bool(aggregate.command) and not self.aggregated_by

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is left to submit."""
        return not self.chunks and not self.has_aggregate


@dataclass
class _Waits:
    """Ids of the jobs that another one waits for."""

    ok: list[str] = field(default_factory=list)
    """They must succeed."""
    ended: list[str] = field(default_factory=list)
    """How they end does not matter."""

    def __bool__(self) -> bool:
        return bool(self.ok or self.ended)


Sent = Callable[[Plan, str, ArrayChunk | None], None]
"""Is told of each job: its plan, its id, and the chunk of an array; None for the aggregate."""


class JobChain:
    """Submits one plan after the other: a stage of a loop waits for those that it needs.

    `send` submits a command line and returns the job's id. Where the parallelism is less than the
    number of scenes, it bounds all arrays together: those of one plan have shares of it, each lane
    of them runs one after the other, and the next plan waits for the last array of each lane.
    """

    def __init__(
        self,
        send: Callable[[list[str]], str],
        submissions: Sequence[Submission],
        on_sent: Sent = lambda *_: None,
    ) -> None:
        self._send, self._on_sent = send, on_sent
        self._arrays_wait = sbatch_commands.arrays_wait([each.plan for each in submissions])
        self._stages: dict[str, _Waits] = {}
        """What a job that needs a stage waits for."""
        self._last: list[str] = []
        """The last array of each lane of the plan before."""
        self.arrays: list[str] = []
        """Ids of all arrays so far."""
        self.command: list[str] = []
        """The last command line, whether or not Slurm took it."""
        self.has_jobs = False
        """Whether Slurm has taken any."""

    def submit(self, submission: Submission) -> None:
        """Submit a plan's arrays and its aggregate; raises SlurmError."""
        before = self._before(submission.plan)
        waits = _Waits(self._submit_arrays(submission, before), list(submission.outlives))
        waits.ok += submission.waits_for
        if submission.aggregated_by:
            waits = _Waits([submission.aggregated_by])
        if submission.has_aggregate:
            waits = _Waits([self._submit_aggregate(submission.plan, waits or before)])
        if submission.plan.stage:  # one with no job at all is done, or waits for those before it
            self._stages[submission.plan.stage.name] = waits or before

    def _before(self, plan: Plan) -> _Waits:
        needed = [self._stages[name] for name in plan.stage.after] if plan.stage else []
        return _Waits(
            [job_id for each in needed for job_id in each.ok],
            [job_id for each in needed for job_id in each.ended],
        )

    def _submit_arrays(self, submission: Submission, before: _Waits) -> list[str]:
        plan, first = submission.plan, len(self.arrays)
        lanes: dict[int, list[str]] = {}
        for chunk in submission.chunks:
            previous = lanes.get(chunk.lane, self._last) if self._arrays_wait else []
            ended = [*before.ended, *(each for each in previous if each not in before.ok)]
            command = sbatch_commands.array_job(plan, chunk, before.ok, ended)
            self.arrays.append(self._sent(command))
            lanes[chunk.lane] = self.arrays[-1:]
            self._on_sent(plan, self.arrays[-1], chunk)
        self._last = [job_id for lane in lanes.values() for job_id in lane] or self._last
        return self.arrays[first:]

    def _submit_aggregate(self, plan: Plan, waits: _Waits) -> str:
        job_id = self._sent(sbatch_commands.aggregate_job(plan, waits.ok, waits.ended))
        self._on_sent(plan, job_id, None)
        return job_id

    def _sent(self, command: list[str]) -> str:
        self.command = command
        job_id = self._send(command)
        self.has_jobs = True
        return job_id
