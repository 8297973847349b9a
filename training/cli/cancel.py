"""`--cancel`: end all that an experiment has queued or running, and have the records say so."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field

from preprocess.faults import MOST_NAMES, Fault, FaultsError
from training.execution.launcher_process import living_launcher
from training.execution.attempt import ending_bound_s
from training.jobs.status import Queue, Snapshot, ask_queue, take_snapshot
from training.plan.experiments import Experiment
from training.plan.model import Plan
from training.records.claim import ClaimHeldError, EndedJob, Holder, claimed, holder_of
from training.records.record import Cause, RecordError, RunRecord, read_record, write_record
from training.records.retry_policy import ELSEWHERE
from training.records.scene_state import UNREADABLE, SceneState
from training.slurm import client
from training.system.console import say
from training.system.processes import ProcessId

POLL_S = 0.5
ASK_SLURM_EVERY_S = 2.0
SLURM_KILLS_S = 40.0
"""Beside a trainer's grace: Slurm's KillWait, 30 s by default, and its book-keeping."""
SIGNALLED_S = 10.0
"""What is told by a signal, after all else, gets so long."""


def cancel(experiment: Experiment) -> bool:
    """End everything; returns whether nothing of it is left.

    The plans are marked first: launchers and flows, on any machine, look for the mark and end, and
    what ends then has ended on request. Raises FaultsError when the marks can't be written.
    """
    before = take_snapshot(experiment)
    _mark(experiment)
    unreadable = _unreadable(before)
    if not before.is_active and not unreadable:
        say(f"experiment {experiment.name}: nothing is queued or running")
        return True
    say(what_goes_on(before))
    ending = _Ending(experiment.plans, before)
    left = [*ending.wait(), *unreadable]
    for each in before.of("queued", "running"):
        _write_down(experiment, each, ending.is_over(each.job_id))
    say("\n".join(["this is left:", *left]) if left else "cancelled: nothing is left")
    return not left


def what_goes_on(snapshot: Snapshot) -> str:
    """What --cancel ends, for a person."""
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
class _Ending:
    """Waits for the end of what was going on, telling it again by other means."""

    plans: tuple[Plan, ...]
    before: Snapshot
    queue: Queue = field(default_factory=Queue)
    asked: float = float("-inf")
    told: set[str] = field(default_factory=set)
    """Jobs that Slurm was told to cancel."""
    signalled: set[int] = field(default_factory=set)

    def wait(self) -> list[str]:
        """What is left after the time that everything may take to end, as lines."""
        scenes = [scene for plan in self.plans for scene in plan.scenes]
        own_s = max(map(ending_bound_s, scenes), default=0.0) + SLURM_KILLS_S
        deadline = time.monotonic() + own_s
        while left := self._left():
            now = time.monotonic()
            if now >= deadline + SIGNALLED_S:
                break
            if now >= deadline:
                self._signal()
            time.sleep(POLL_S)
        return left

    def is_over(self, job_id: str) -> bool:
        """Whether Slurm says that the job is not there any more."""
        return bool(job_id) and not self.queue.unknown and job_id not in self.queue.my_job_ids

    def _left(self) -> list[str]:
        self._ask_slurm()
        left = [f"process {launcher.pid} on {launcher.host}" for launcher in self._launchers()]
        left += [f"{scene}: {holder}" for scene, holder in self._holders().items()]
        left += [f"Slurm job {each.job.job_id} ({each.job.state})" for each in self.queue.jobs]
        return left + ([f"Slurm's queue: {self.queue.unknown}"] if self.queue.unknown else [])

    def _ask_slurm(self) -> None:
        """Cancel what is in the queue, also what has come there since."""
        if time.monotonic() - self.asked < ASK_SLURM_EVERY_S:
            return
        self.queue, self.asked = ask_queue(self.plans), time.monotonic()
        new = {each.job.array_job_id for each in self.queue.jobs} - self.told
        with contextlib.suppress(client.SlurmError):  # once more, the next time
            client.cancel(new)
            self.told |= new

    def _launchers(self) -> list[ProcessId]:
        return [found for plan in self.plans if (found := living_launcher(plan.file))]

    def _holders(self) -> dict[str, Holder]:
        found = {}
        for each in self.before.of("queued", "running"):
            ended = EndedJob(each.job_id) if self.is_over(each.job_id) else None
            with contextlib.suppress(RecordError):  # no run of this version: it could not claim it
                if holder := holder_of(self.before.experiment.output(each.scene), ended):
                    found[each.scene] = holder
        return found

    def _signal(self) -> None:
        """For what took no notice of the mark: launchers of this host, else supervisors."""
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
        raise FaultsError([Fault("the plans can't be marked as cancelled", str(error))]) from error


def _write_down(experiment: Experiment, before: SceneState, job_is_over: bool) -> None:
    """Have the record of a scene say that it was cancelled, where its supervisor could not."""
    output = experiment.output(before.scene)
    ended_job = EndedJob(before.job_id) if job_is_over else None
    with contextlib.suppress(ClaimHeldError, RecordError, OSError):
        if not _is_to_be_cancelled(read_record(output), before):
            return
        with claimed(output, os.getpid(), ended_job=ended_job):
            record = read_record(output)
            if record is not None and _is_to_be_cancelled(record, before):
                write_record(output, _cancelled(record))


def _is_to_be_cancelled(record: RunRecord | None, before: SceneState) -> bool:
    """Whether it ended with the cancelling or was to start again; a verdict of its own stays."""
    if record is None or record.status in {"done", "cancelled"}:
        return False
    return record.status == "running" or before.state == "queued" or record.cause in ELSEWHERE


def _cancelled(record: RunRecord) -> RunRecord:
    """An attempt that ended before the request keeps its cause."""
    if record.status == "running":
        return record.ended(Cause.CANCELLED, None, "cancelled on request")
    return record.model_copy(update={"status": "cancelled"})
