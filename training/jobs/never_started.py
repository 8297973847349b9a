"""Array tasks that ended before our code ran: a module or environment that is not there.

Nothing could write a record then. A later command finds the job's log, in which our code has
printed nothing, and writes the record.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from training.jobs.job_cause import SLURM_SAYS
from training.jobs.sbatch_commands import ARRAY_LOG, slurm_of
from training.plan.model import Plan, ScenePlan
from training.records.claim import ClaimHeldError, claimed
from training.records.record import (
    Attempt,
    Cause,
    RecordError,
    RunRecord,
    read_record,
    write_record,
)
from training.records.scene_state import attempts_since
from training.slurm.job_states import JobEnd
from training.system.scene_log import last_message, tail


@dataclass(frozen=True)
class NeverStarted:
    """A scene whose array task ended before our code ran."""

    plan: Plan
    scene: ScenePlan
    job_id: str
    log: Path
    """The job's output."""

    @property
    def seconds_since_output(self) -> float:
        """Seconds since the job last printed something."""
        return time.time() - self.last_output.timestamp()

    @property
    def last_output(self) -> datetime:
        """When the job last printed something: it ran then."""
        return datetime.fromtimestamp(self.log.stat().st_mtime, UTC)


def find_never_started(
    plans: Iterable[Plan],
    queued: Collection[str],
    records: Mapping[Path, RunRecord | None],
) -> list[NeverStarted]:
    """Return the tasks of each scene's newest array plan that ended before our code ran.

    They have printed something and are no longer in Slurm's queue. `plans`: newest first.
    `queued`: ids of the jobs in the queue. `records`: by output folder, those that can be read.
    """
    found: dict[Path, NeverStarted | None] = {}
    for plan in plans:
        tasks = {each.scene.name: each for each in _tasks(plan)} if _may_start(plan) else {}
        for scene in plan.of("run"):
            found.setdefault(scene.output, tasks.get(scene.name))
    return [
        each
        for output, each in found.items()
        if each and each.job_id not in queued and output in records
        if _is_open(records[output], each) and not _our_code_ran(each)
    ]


def record_never_started(never_started: NeverStarted, end: JobEnd | None) -> None:
    """Add an attempt that says so to the scene's record, unless another process has the scene.

    `end`: how the job ended according to Slurm; None where Slurm does not know.
    """
    output = never_started.scene.output
    with contextlib.suppress(ClaimHeldError, RecordError, OSError), claimed(output, os.getpid()):
        record = read_record(output)
        if _is_open(record, never_started):
            write_record(output, _with_attempt(record, never_started, end))


def _may_start(plan: Plan) -> bool:
    """Return whether a plan's tasks are to train when they start: an array's, not cancelled."""
    return plan.slurm is not None and not plan.cancelled.exists()


def _tasks(plan: Plan) -> Iterator[NeverStarted]:
    """Yield the array tasks of a plan that have printed something, in the order of their logs."""
    name = re.compile(re.escape(slurm_of(plan).job_name) + ARRAY_LOG)
    scenes = plan.of("run")
    with contextlib.suppress(OSError):
        for log in sorted(plan.job_logs.iterdir()):
            if match := name.fullmatch(log.name):
                index = int(match["offset"] or 0) + int(match["task"])
                job_id = f"{match['array']}_{match['task']}"
                for scene in scenes[index : index + 1]:  # none for a file that somebody put there
                    yield NeverStarted(plan, scene, job_id, log)


def _our_code_ran(never_started: NeverStarted) -> bool:
    """Return whether the log has an array task's last line, which begins with the scene's name."""
    lines = tail(never_started.log).decode("utf-8", errors="replace").splitlines()
    return any(line.startswith(never_started.scene.name) for line in lines)


def _is_open(record: RunRecord | None, never_started: NeverStarted) -> bool:
    """Return whether the record may get an attempt: of this configuration, not done, none since."""
    if record is None:
        return True
    with contextlib.suppress(RecordError):  # what it is made from can't be read
        if never_started.scene.is_configuration_of(record.fingerprint):
            return record.status != "done" and not attempts_since(
                record, never_started.plan.created
            )
    return False


def _with_attempt(
    record: RunRecord | None, never_started: NeverStarted, end: JobEnd | None
) -> RunRecord:
    scene, last_output = never_started.scene, never_started.last_output
    record = record or RunRecord(
        scene=scene.scene_name,
        exp_name=scene.exp_name,
        fingerprint=scene.current_fingerprint,
        status="failed",
    )
    start = max(never_started.plan.created, (end and end.start) or last_output)
    attempt = Attempt(
        start=start, host=end.node if end else "", pid=0, slurm_job_id=never_started.job_id
    )
    job = str(end) if end else f"job {never_started.job_id} ended"
    reason = f"{SLURM_SAYS}{job} before the training began: {last_message(never_started.log)}"
    record = record.started(attempt).ended(
        Cause.WORKER_LOST, None, f"{reason}; log {never_started.log}"
    )
    ended = max(start, (end and end.end) or last_output)
    last = record.attempts[-1].model_copy(update={"end": ended})
    return record.model_copy(update={"attempts": (*record.attempts[:-1], last)})
