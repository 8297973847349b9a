"""Reconcile records with Slurm: an attempt that could not record why it ended gets Slurm's cause.

A supervisor that is killed with its job, or told to end by Slurm, can't know why. The next command
that looks at the experiment asks Slurm once for all such scenes, and writes each record once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeGuard

from training.execution.end_cause import shared_note
from training.jobs.job_cause import SLURM_SAYS, cause_of_job
from training.jobs.never_started import find_never_started, record_never_started
from training.plan.model import LOG, Plan, ScenePlan
from training.records.claim import (
    SILENT_AFTER_S,
    ClaimHeldError,
    EndedJob,
    claimed,
    seconds_since_heartbeat,
)
from training.records.expected_outputs import has_checkpoint
from training.records.outcome import Outcome, outcome_of
from training.records.record import (
    Attempt,
    Cause,
    RecordError,
    RunRecord,
    read_record,
    write_record,
)
from training.records.trainer_exit import complete
from training.slurm import client
from training.slurm.job_states import NODE_LOST, JobEnd

PATIENCE_S = 60.0
"""How long after a scene's last heartbeat Slurm may still not know how its job ended."""
WAIT_S = SILENT_AFTER_S + 2.0
"""Time after which the claim of a holder on a lost node can be inherited."""


def reconcile(
    scene: ScenePlan, job_id: str, end: JobEnd | None, wait_s: float = WAIT_S, *, seen: str = ""
) -> Outcome:
    """Write into a scene's record how its job ended, and return the outcome.

    `end`: None where Slurm does not know and the caller waits no longer. `seen`: what the caller
    saw of the end, told where neither Slurm nor the record knows better. Waits up to `wait_s`
    seconds for a holder that a lost node may still run; the outcome is `held` when that holder is
    alive, or another run has the scene.
    """
    shared = scene.scenes_on_gpu
    return reconcile_output(
        scene.name, scene.output, job_id, end, wait_s, seen=seen, scenes_on_gpu=shared
    )


def reconcile_all(
    outputs: Iterable[Path],
    queued: Collection[str],
    plans: Iterable[Plan] = (),
    patience_s: float = PATIENCE_S,
) -> list[Path]:
    """Do what `reconcile_records` does, for the records in these output folders."""
    return reconcile_records(_readable_records(outputs), queued, plans, patience_s)


def reconcile_records(
    records: Mapping[Path, RunRecord | None],
    queued: Collection[str],
    plans: Iterable[Plan] = (),
    patience_s: float = PATIENCE_S,
) -> list[Path]:
    """Reconcile all records whose job is no longer `queued`; return their output folders.

    `records`: those that can be read, by output folder; None where there is none. With `plans`,
    newest first, also scenes whose array tasks ended before our code ran. Asks Slurm once for all
    of them, and not at all when there are none. What Slurm does not know yet is left to the next
    call, until the last heartbeat is `patience_s` seconds old.
    """
    never_started = find_never_started(plans, queued, records)
    unreconciled = {
        output: record for output, record in records.items() if _is_unreconciled(record)
    }
    jobs = {output: record.attempts[-1].slurm_job_id for output, record in unreconciled.items()}
    jobs = {output: job_id for output, job_id in jobs.items() if job_id and job_id not in queued}
    moments = {job_id: _start_of(unreconciled[output]) for output, job_id in jobs.items()}
    moments |= {each.job_id: each.last_output for each in never_started}
    ends = client.job_ends(moments.keys(), moments)
    changed = []
    for each in never_started:
        if each.job_id in ends or each.seconds_since_output >= patience_s:
            record_never_started(each, ends.get(each.job_id))
            changed.append(each.scene.output)
    for output, job_id in jobs.items():
        if job_id in ends or seconds_since_heartbeat(output) >= patience_s:
            scene = unreconciled[output].scene
            reconcile_output(scene, output, job_id, ends.get(job_id), wait_s=0)
            changed.append(output)
    return changed


def reconcile_previous_run(scene: ScenePlan, job_id: str) -> None:
    """Write into the record why the previous run of this requeued job ended.

    Where Slurm does not tell, the record stays, and the next attempt writes `worker_lost`.
    """
    record = _readable_records([scene.output]).get(scene.output)
    if not _is_unreconciled(record) or record.attempts[-1].slurm_job_id != job_id:
        return
    end = client.previous_run(job_id, record.attempts[-1].start)
    if end is not None and cause_of_job(end)[0]:
        reconcile(scene, job_id, end)


def reconcile_output(
    scene: str,
    output: Path,
    job_id: str,
    end: JobEnd | None,
    wait_s: float,
    *,
    seen: str = "",
    scenes_on_gpu: int = 1,
) -> Outcome:
    """Do what `reconcile` does, for a scene that is known by its output folder."""
    news = _news_of(job_id, end, seen, scenes_on_gpu)
    node_may_live = end is None or end.state in NODE_LOST
    ended_job = EndedJob(job_id, SILENT_AFTER_S if node_may_live else 0.0)
    try:
        with claimed(output, os.getpid(), wait_s, ended_job=ended_job):
            return _reconcile_claimed(scene, output, news)
    except ClaimHeldError as error:
        return _not_done(scene, output, None, str(error))
    except (RecordError, OSError) as error:
        message = f"{news.text(None)}; its record can't be written: {error}"
        return _not_done(scene, output, news.cause, message)


def _reconcile_claimed(scene: str, output: Path, news: _News) -> Outcome:
    record = complete(output, read_record(output))
    last = record.last if record else None
    if record is None or last is None or not news.is_of(last):
        message = f"{news.text(None)}; log {output / LOG}"
        return _not_done(scene, output, news.cause, message)  # it ended before its attempt
    if _is_overruled(record, news.cause):
        message = f"{news.text(last)}; log {output / LOG}"
        record = _with_cause(record, news.cause, message)
        write_record(output, record)
    return outcome_of(scene, record, output / LOG, has_checkpoint(output))


@dataclass(frozen=True)
class _News:
    """What a job's end means for a scene whose record does not know better."""

    job_id: str
    cause: Cause
    said: str
    """By Slurm."""
    seen: str
    """By the caller."""
    end: JobEnd | None

    def is_of(self, attempt: Attempt) -> bool:
        """Return whether the attempt ran in this job, and not in one that had the same id."""
        is_same = self.end is None or self.end.may_cover(attempt.start)
        return attempt.slurm_job_id == self.job_id and is_same

    @property
    def is_vague(self) -> bool:
        """Whether Slurm says nothing of who died: the job ended well, or nobody knows how."""
        return self.end is None or cause_of_job(self.end)[0] is None

    def text(self, attempt: Attempt | None) -> str:
        """Return a sentence that names who died in the job, as far as it is known.

        `attempt`: the one that ran in it; None where none did.
        """
        if not self.is_vague:
            return self.said
        words = [self.seen]
        if attempt is not None and attempt.end is None:
            who = f"its supervisor (process {attempt.pid} on {attempt.host})"
            words = [self.seen, f"{who} left no word of how it ended"]
        elif attempt is not None:
            words = [attempt.message or self.seen]
        return "; ".join(filter(None, [self.said, *words]))


def _news_of(job_id: str, end: JobEnd | None, seen: str, scenes_on_gpu: int) -> _News:
    if end is None:
        unknown = f"{SLURM_SAYS}job {job_id} is gone, how it ended is not known"
        return _News(job_id, Cause.WORKER_LOST, unknown, seen, None)
    cause, said = cause_of_job(end)
    if cause is Cause.OUT_OF_MEMORY and scenes_on_gpu > 1:
        said += shared_note(scenes_on_gpu)
    return _News(job_id, cause or Cause.WORKER_LOST, said, seen, end)


def _is_overruled(record: RunRecord, cause: Cause) -> bool:
    """Return whether Slurm's cause replaces the last attempt's: it has none, or a vaguer one."""
    if record.status == "running" or _is_unexplained(record):
        return True
    return record.cause is Cause.TRAINER_ERROR and cause is Cause.OUT_OF_MEMORY


def _is_unexplained(record: RunRecord) -> bool:
    lost = record.status == "failed" and record.cause is Cause.WORKER_LOST
    return lost and not record.attempts[-1].message.startswith(SLURM_SAYS)


def _with_cause(record: RunRecord, cause: Cause, message: str) -> RunRecord:
    """Return the record with Slurm's cause; time and exit status that were recorded stay."""
    last = record.attempts[-1]
    ended = record.ended(cause, last.exit_status, message, record.metrics)
    if last.end is None:
        return ended
    corrected = ended.attempts[-1].model_copy(update={"end": last.end})
    return ended.model_copy(update={"attempts": (*ended.attempts[:-1], corrected)})


def _not_done(scene: str, output: Path, cause: Cause | None, message: str) -> Outcome:
    """Return the outcome of a scene that is not done; without a cause it is held."""
    cancelled = cause is Cause.CANCELLED
    return Outcome(
        scene=scene,
        status="held" if cause is None else "cancelled" if cancelled else "failed",
        cause=cause,
        message=message,
        log=output / LOG,
        has_checkpoint=has_checkpoint(output),
    )


def _start_of(record: RunRecord) -> datetime:
    return record.attempts[-1].start


def _readable_records(outputs: Iterable[Path]) -> dict[Path, RunRecord | None]:
    found = {}
    for output in outputs:
        with contextlib.suppress(RecordError):
            found[output] = read_record(output)
    return found


def _is_unreconciled(record: RunRecord | None) -> TypeGuard[RunRecord]:
    """Return whether the last attempt does not say how it ended."""
    if record is None or not record.attempts:
        return False
    return record.status == "running" or _is_unexplained(record)
