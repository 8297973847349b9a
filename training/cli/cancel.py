"""`--cancel`: end everything of an experiment that is queued or running, and record that."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from preprocess.faults import MOST_NAMES, Fault, FaultsError, why_unreadable
from training.execution.attempt import ending_bound_s
from training.execution.launcher_process import living_launcher
from training.jobs.experiment_jobs import StageJob
from training.jobs.status import Queue, Snapshot, ask_queue, take_snapshot
from training.plan.experiments import Experiment
from training.plan.model import Plan
from training.records.claim import ClaimHeldError, EndedJob, Holder, claimed, holder_of
from training.records.record import Cause, RecordError, RunRecord, read_record, write_record
from training.records.retry_policy import ELSEWHERE
from training.records.scene_state import UNREADABLE, SceneState
from training.records.trainer_exit import complete
from training.slurm import client
from training.system.console import say
from training.system.processes import ProcessId
from training.system.waiting import awaited

POLL_S = 0.5
ASK_SLURM_EVERY_S = 2.0
SLURM_KILLS_S = 40.0
"""Added to a trainer's grace: Slurm's KillWait, 30 s by default, and its book-keeping."""
SIGNALLED_S = 10.0
"""Time to end for processes that had to be signalled, after that."""


def cancel(experiments: Sequence[Experiment]) -> bool:
    """End everything of an experiment, or of a loop's stages; return whether nothing is left.

    The plans are marked first: launchers and flows, on any machine, look for the mark and end, and
    attempts that end after it are recorded as cancelled. False where a plan can't be read: nobody
    knows its jobs. Raises FaultsError when the marks can't be written.
    """
    before = [take_snapshot(experiment) for experiment in experiments]
    for experiment in experiments:
        _mark(experiment)
    active = [each for each in before if each.is_active or _unreadable(each)]
    unknown = any(each.warnings for each in experiments)
    if not active:
        of_it = " of what can be read" if unknown else ""
        say(f"experiment {experiments[0].name}: nothing{of_it} is queued or running")
    ended = [_cancel(each) for each in active]
    return all(ended) and not unknown


def _cancel(before: Snapshot) -> bool:
    experiment, unreadable = before.experiment, _unreadable(before)
    say(describe_active(before))
    cancellation = _Cancellation(experiment.plans, before)
    with awaited("trainers and jobs end; trainers may write a checkpoint"):
        left = [*cancellation.wait(), *unreadable]
    for each in before.of("queued", "running"):
        _record_cancelled(experiment, each, cancellation.is_gone(each.job_id))
    say("\n".join(["this is left:", *left]) if left else "cancelled: nothing is left")
    return not left


def describe_active(snapshot: Snapshot) -> str:
    """Return lines that name what --cancel ends: scenes, Slurm jobs, launchers."""
    lines = []
    for state in ("running", "queued"):
        scenes = [each.scene for each in snapshot.of(state)]
        more = f", … {len(scenes)} in all" if len(scenes) > MOST_NAMES else ""
        lines += [f"{state}: {', '.join(scenes[:MOST_NAMES])}{more}"] if scenes else []
    jobs = sorted({each.job.array_job_id for each in snapshot.queue.jobs})
    lines += [f"Slurm jobs: {', '.join(jobs)}"] if jobs else []
    lines += [f"launcher: process {launcher.pid}" for launcher in snapshot.launchers]
    lines += _unreadable(snapshot)
    return "\n".join(lines) or f"Slurm does not say what it has queued: {snapshot.queue.unknown}"


@dataclass
class _Cancellation:
    """Cancels jobs, waits for the end of all that was active, and signals what does not end."""

    plans: tuple[Plan, ...]
    before: Snapshot
    queue: Queue = field(default_factory=Queue)
    queue_asked_at: float = float("-inf")
    cancelled_jobs: set[str] = field(default_factory=set)
    """Ids of the jobs that Slurm was told to cancel."""
    is_overdue: bool = False
    """Whether what the mark should have ended by now is to be ended from outside."""
    signalled: set[int] = field(default_factory=set)

    def wait(self) -> list[str]:
        """Wait as long as everything may take to end; return a line for each thing that is left."""
        scenes = [scene for plan in self.plans for scene in plan.scenes]
        own_s = max(map(ending_bound_s, scenes), default=0.0) + SLURM_KILLS_S
        deadline = time.monotonic() + own_s
        while left := self._left():
            now = time.monotonic()
            if now >= deadline + SIGNALLED_S:
                break
            if now >= deadline:
                self.is_overdue = True
                self._signal()
            time.sleep(POLL_S)
        return left

    def is_gone(self, job_id: str) -> bool:
        """Return whether Slurm's queue is known and no longer has this job."""
        return bool(job_id) and not self.queue.unknown and job_id not in self.queue.my_job_ids

    def _left(self) -> list[str]:
        self._ask_slurm()
        left = [f"process {launcher.pid} on {launcher.host}" for launcher in self._launchers()]
        left += [f"{scene}: {holder}" for scene, holder in self._holders().items()]
        left += [f"Slurm job {each.job.job_id} ({each.job.state})" for each in self.queue.jobs]
        return left + ([f"Slurm's queue: {self.queue.unknown}"] if self.queue.unknown else [])

    def _ask_slurm(self) -> None:
        """Cancel the jobs that are queued now; some may have been submitted meanwhile."""
        if time.monotonic() - self.queue_asked_at < ASK_SLURM_EVERY_S:
            return
        self.queue, self.queue_asked_at = ask_queue(self.plans), time.monotonic()
        new = {each.job.array_job_id for each in self._jobs_to_cancel()} - self.cancelled_jobs
        with contextlib.suppress(client.SlurmError):  # tried again the next time
            client.cancel(new)
            self.cancelled_jobs |= new

    def _jobs_to_cancel(self) -> list[StageJob]:
        """Return the jobs that Slurm is to cancel now.

        A controller that runs sees the plan's mark, and ends its flow by itself in good order.
        """
        return [
            each
            for each in self.queue.jobs
            if each.stage != "controller" or each.job.is_pending or self.is_overdue
        ]

    def _launchers(self) -> list[ProcessId]:
        return [found for plan in self.plans if (found := living_launcher(plan.file))]

    def _holders(self) -> dict[str, Holder]:
        found = {}
        for each in self.before.of("queued", "running"):
            ended = EndedJob(each.job_id) if self.is_gone(each.job_id) else None
            with contextlib.suppress(RecordError):  # no run of this version: it could not claim it
                if holder := holder_of(self.before.experiment.output(each.scene), ended):
                    found[each.scene] = holder
        return found

    def _signal(self) -> None:
        """Signal what has ignored the mark: launchers on this host, else their supervisors."""
        processes = self._launchers() or [holder.process for holder in self._holders().values()]
        for process in processes:
            if process.lives() and process.pid not in self.signalled:
                self.signalled.add(process.pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGTERM)


def _unreadable(snapshot: Snapshot) -> list[str]:
    """Return a line for each scene whose record or claim does not tell whether it runs."""
    return [f"{each.scene}: {each.message}" for each in snapshot.scenes if each.cause == UNREADABLE]


def _mark(experiment: Experiment) -> None:
    try:
        for plan_file in experiment.plan_files:
            plan_file.with_suffix(".cancelled").touch()
    except OSError as error:
        value, remedy = f"{error.filename}: {error.strerror}", why_unreadable(error)[1]
        fault = Fault("the plans can't be marked as cancelled", value, remedy)
        raise FaultsError([fault]) from error


def _record_cancelled(experiment: Experiment, before: SceneState, job_is_gone: bool) -> None:
    """Record that a scene was cancelled, where its supervisor could not."""
    output = experiment.output(before.scene)
    ended_job = EndedJob(before.job_id) if job_is_gone else None
    with contextlib.suppress(ClaimHeldError, RecordError, OSError):
        if not _must_be_cancelled(read_record(output), before):
            return
        with claimed(output, os.getpid(), ended_job=ended_job):
            record = complete(output, read_record(output))
            if record is not None and _must_be_cancelled(record, before):
                write_record(output, _cancelled(record))


def _must_be_cancelled(record: RunRecord | None, before: SceneState) -> bool:
    """Return whether the scene ran, was queued or would be retried; other ends stay as they are."""
    if record is None or record.status in {"done", "cancelled"}:
        return False
    return record.status == "running" or before.state == "queued" or record.cause in ELSEWHERE


def _cancelled(record: RunRecord) -> RunRecord:
    """Return the record as cancelled; an attempt that had ended before keeps its cause."""
    if record.status == "running":
        return record.ended(Cause.CANCELLED, None, "cancelled on request")
    return record.model_copy(update={"status": "cancelled"})
