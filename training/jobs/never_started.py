"""Array jobs that ended before our code ran in them: a module or environment that is not there.

Nothing of ours could write a record then. Whoever looks later finds the job's log, without a word
of ours in it, and writes the record.
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
from training.records.claim import ClaimHeldError, acquire
from training.records.record import (
    Attempt,
    Cause,
    RecordError,
    RunRecord,
    read_record,
    write_record,
)
from training.slurm.job_states import JobEnd
from training.system.scene_log import last_words, tail


@dataclass(frozen=True)
class NeverStarted:
    """A scene whose array task ended without our code."""

    plan: Plan
    scene: ScenePlan
    job_id: str
    log: Path
    """What the job printed."""

    @property
    def seconds_since_heartbeat(self) -> float:
        """Since when nothing more was printed."""
        return time.time() - _printed_last(self.log).timestamp()


def find_never_started(
    plans: Iterable[Plan],
    queued: Collection[str],
    records: Mapping[Path, RunRecord | None],
) -> list[NeverStarted]:
    """Of each scene's newest array plan, tasks that have printed, are gone, and never came to us.

    `plans`: newest first. `queued`: ids of the jobs that are in Slurm's queue. `records`: by output
    folder, those that can be read.
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
        if _is_open(records[output], each) and not _came_to_us(each)
    ]


def write_down(never_started: NeverStarted, end: JobEnd | None) -> bool:
    """Give the scene's record an attempt that says so; whether it was written.

    `end`: Slurm's word for it, where it has one.
    """
    output = never_started.scene.output
    try:
        claim = acquire(output, os.getpid())
    except (ClaimHeldError, OSError):
        return False
    try:
        record = read_record(output)
        if not _is_open(record, never_started):
            return False
        write_record(output, _with_attempt(record, never_started, end))
    except (RecordError, OSError):
        return False
    finally:
        with contextlib.suppress(OSError):
            claim.release()
    return True


def _may_start(plan: Plan) -> bool:
    """Whether its tasks, when they came to us, were not told to leave it."""
    return plan.slurm is not None and not plan.cancelled.exists()


def _tasks(plan: Plan) -> Iterator[NeverStarted]:
    """The array tasks of a plan that have begun to print, the last of each scene."""
    name = re.compile(re.escape(slurm_of(plan).job_name) + ARRAY_LOG)
    scenes = plan.of("run")
    with contextlib.suppress(OSError):
        for log in sorted(plan.job_logs.iterdir()):
            if match := name.fullmatch(log.name):
                index = int(match["offset"] or 0) + int(match["task"])
                job_id = f"{match['array']}_{match['task']}"
                yield NeverStarted(plan, scenes[index], job_id, log)


def _came_to_us(never_started: NeverStarted) -> bool:
    """Whether the task's own last word is in the log: it begins with the scene's name."""
    said = tail(never_started.log).decode("utf-8", errors="replace").splitlines()
    return any(line.startswith(never_started.scene.name) for line in said)


def _is_open(record: RunRecord | None, never_started: NeverStarted) -> bool:
    """Whether nothing of worth is in the record, and no start since the plan was made."""
    if record is None:
        return True
    if record.fingerprint != never_started.scene.fingerprint or record.status == "done":
        return False
    return all(attempt.start < never_started.plan.created for attempt in record.attempts)


def _with_attempt(
    record: RunRecord | None, never_started: NeverStarted, end: JobEnd | None
) -> RunRecord:
    scene, printed = never_started.scene, _printed_last(never_started.log)
    record = record or RunRecord(
        scene=scene.name, exp_name=scene.exp_name, fingerprint=scene.fingerprint, status="failed"
    )
    start = max(never_started.plan.created, (end and end.start) or printed)
    attempt = Attempt(
        start=start, host=end.node if end else "", pid=0, slurm_job_id=never_started.job_id
    )
    how = str(end) if end else f"job {never_started.job_id} ended"
    said = f"{SLURM_SAYS}{how} before the training began: {last_words(never_started.log)}"
    record = record.started(attempt).ended(
        Cause.WORKER_LOST, None, f"{said}; log {never_started.log}"
    )
    ended = max(start, (end and end.end) or printed)
    last = record.attempts[-1].model_copy(update={"end": ended})
    return record.model_copy(update={"attempts": (*record.attempts[:-1], last)})


def _printed_last(log: Path) -> datetime:
    return datetime.fromtimestamp(log.stat().st_mtime, UTC)
