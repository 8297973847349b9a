"""Join a scene's record with Slurm's word for how its job ended: one cause, written once.

A supervisor that is killed with its job, or told to end by Slurm, can't know why. Whoever looks
later asks Slurm once for all such scenes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TypeGuard

from training.jobs.job_cause import SLURM_SAYS, cause_of_job
from training.jobs.never_started import find_never_started, write_down
from training.plan.model import LOG, Plan, ScenePlan
from training.records.claim import (
    SILENT_AFTER_S,
    ClaimHeldError,
    EndedJob,
    acquire,
    seconds_since_heartbeat,
)
from training.records.expected_outputs import has_checkpoint
from training.records.outcome import Outcome, outcome_of
from training.records.record import Cause, RecordError, RunRecord, read_record, write_record
from training.slurm import client
from training.slurm.job_states import NODE_LOST, JobEnd

PATIENCE_S = 60.0
"""How long after a scene's last sign of life Slurm may not know yet how its job ended."""
WAIT_S = SILENT_AFTER_S + 2.0
"""Until a holder on a lost node has been silent for long enough."""


def reconcile(scene: ScenePlan, job_id: str, end: JobEnd | None, wait_s: float = WAIT_S) -> Outcome:
    """What became of a scene whose job has ended, its record then says it too.

    `end` None: Slurm does not know, and the caller has no more patience. Waits up to `wait_s` for
    a holder that a lost node may still run; `held` when it shows itself, or somebody else does.
    """
    return reconcile_output(scene.name, scene.output, job_id, end, wait_s)


def reconcile_all(
    outputs: Iterable[Path],
    queued: Collection[str],
    plans: Iterable[Plan] = (),
    patience_s: float = PATIENCE_S,
) -> list[Outcome]:
    """Settle what nobody else did: output folders whose job is not among the `queued` any more.

    With `plans`, newest first, scenes whose array tasks never came to our code, too. Asks Slurm
    once for all of them, and not at all when there are none. What Slurm does not know yet is left
    for the next time, until the scene has been silent for `patience_s`.
    """
    records = _readable_records(outputs)
    never_started = find_never_started(plans, queued, records)
    unreconciled = {
        output: record for output, record in records.items() if _is_unreconciled(record)
    }
    jobs = {output: record.attempts[-1].slurm_job_id for output, record in unreconciled.items()}
    jobs = {output: job_id for output, job_id in jobs.items() if job_id and job_id not in queued}
    ends = client.job_ends({*jobs.values(), *(each.job_id for each in never_started)})
    for each in never_started:
        if each.job_id in ends or each.seconds_since_heartbeat >= patience_s:
            write_down(each, ends.get(each.job_id))
    return [
        reconcile_output(unreconciled[output].scene, output, job_id, ends.get(job_id), wait_s=0)
        for output, job_id in jobs.items()
        if job_id in ends or seconds_since_heartbeat(output) >= patience_s
    ]


def reconcile_former_run(scene: ScenePlan, job_id: str) -> None:
    """In a job that Slurm has started again: have the record say why its former run ended.

    Where Slurm does not tell, whoever goes on writes that the supervisor died.
    """
    record = _readable_records([scene.output]).get(scene.output)
    if not _is_unreconciled(record) or record.attempts[-1].slurm_job_id != job_id:
        return
    end = client.former_run(job_id, record.attempts[-1].start)
    if end is not None and cause_of_job(end)[0]:
        reconcile(scene, job_id, end)


def reconcile_output(
    scene: str, output: Path, job_id: str, end: JobEnd | None, wait_s: float
) -> Outcome:
    """`reconcile` by the output folder."""
    cause, message = _verdict(output, job_id, end)
    node_may_live = end is None or end.state in NODE_LOST
    ended_job = EndedJob(job_id, SILENT_AFTER_S if node_may_live else 0.0)
    try:
        claim = acquire(output, os.getpid(), wait_s, ended_job=ended_job)
    except ClaimHeldError as error:
        return _not_done(scene, output, None, str(error))
    except OSError as error:
        return _not_done(scene, output, cause, f"{message}; {_unwritten(error)}")
    try:
        return _reconcile_claimed(scene, output, job_id, cause, message)
    except (RecordError, OSError) as error:
        return _not_done(scene, output, cause, f"{message}; {_unwritten(error)}")
    finally:
        with contextlib.suppress(OSError):
            claim.release()


def _reconcile_claimed(
    scene: str, output: Path, job_id: str, cause: Cause, message: str
) -> Outcome:
    record = read_record(output)
    if record is None or not record.attempts or record.attempts[-1].slurm_job_id != job_id:
        return _not_done(scene, output, cause, message)  # it never came to its attempt
    if _knows_less(record, cause):
        record = _joined(record, cause, message)
        write_record(output, record)
    return outcome_of(record, output / LOG, has_checkpoint(output))


def _knows_less(record: RunRecord, cause: Cause) -> bool:
    """Whether the record's last attempt has no verdict of its own, or one that Slurm explains."""
    if record.status == "running" or _is_unexplained(record):
        return True
    return record.cause is Cause.TRAINER_ERROR and cause is Cause.OUT_OF_MEMORY


def _is_unexplained(record: RunRecord) -> bool:
    lost = record.status == "failed" and record.cause is Cause.WORKER_LOST
    return lost and not record.attempts[-1].message.startswith(SLURM_SAYS)


def _joined(record: RunRecord, cause: Cause, message: str) -> RunRecord:
    """The record with Slurm's cause; an end that its supervisor saw stays as it was seen."""
    last = record.attempts[-1]
    ended = record.ended(cause, last.exit_status, message, record.metrics)
    if last.end is None:
        return ended
    seen = ended.attempts[-1].model_copy(update={"end": last.end})
    return ended.model_copy(update={"attempts": (*ended.attempts[:-1], seen)})


def _verdict(output: Path, job_id: str, end: JobEnd | None) -> tuple[Cause, str]:
    """What the end of a job means for a scene whose record knows nothing better."""
    log = f"; log {output / LOG}"
    if end is None:
        unknown = f"{SLURM_SAYS}job {job_id} is gone, how it ended is not known"
        return Cause.WORKER_LOST, unknown + log
    cause, message = cause_of_job(end)
    return cause or Cause.WORKER_LOST, message + log


def _not_done(scene: str, output: Path, cause: Cause | None, message: str) -> Outcome:
    """An outcome by its cause; `held` without one."""
    cancelled = cause is Cause.CANCELLED
    return Outcome(
        scene=scene,
        status="held" if cause is None else "cancelled" if cancelled else "failed",
        cause=cause,
        message=message,
        log=output / LOG,
        has_checkpoint=has_checkpoint(output),
    )


def _unwritten(error: Exception) -> str:
    return f"its record can't be written: {error}"


def _readable_records(outputs: Iterable[Path]) -> dict[Path, RunRecord | None]:
    found = {}
    for output in outputs:
        with contextlib.suppress(RecordError):
            found[output] = read_record(output)
    return found


def _is_unreconciled(record: RunRecord | None) -> TypeGuard[RunRecord]:
    """Whether the last attempt does not say how it ended."""
    if record is None or not record.attempts:
        return False
    return record.status == "running" or _is_unexplained(record)
