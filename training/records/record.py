"""The run record: one JSON beside a scene's outputs that says what became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from training.system.atomic_write import write_atomically

RECORD = "run.json"

Status = Literal["running", "done", "failed", "cancelled"]


class Cause(StrEnum):
    """How one start ended and why."""

    OK = "ok"
    CONFIG = "config"
    TRAINER_ERROR = "trainer_error"
    NO_OUTPUT = "no_output"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAILURE = "node_failure"
    WORKER_LOST = "worker_lost"
    CANCELLED = "cancelled"


class Attempt(BaseModel):
    """One start of a scene's trainer; `end` and `cause` are None while it runs."""

    model_config = ConfigDict(frozen=True)

    start: datetime
    host: str
    pid: int
    end: datetime | None = None
    exit_status: int | None = None
    cause: Cause | None = None
    message: str = ""
    slurm_job_id: str = ""


class RunRecord(BaseModel):
    """What became of one scene in one experiment."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    scene: str
    exp_name: str
    fingerprint: str
    status: Status
    attempts: tuple[Attempt, ...] = ()
    metrics: dict[str, Any] = {}

    @property
    def cause(self) -> Cause | None:
        """The last attempt's cause."""
        return self.attempts[-1].cause if self.attempts else None

    @property
    def seconds(self) -> float:
        """Time spent in all finished attempts."""
        return sum((a.end - a.start).total_seconds() for a in self.attempts if a.end)

    def started(self, attempt: Attempt) -> RunRecord:
        """The record while `attempt` runs."""
        return self.model_copy(
            update={"status": "running", "attempts": (*self.attempts, attempt), "metrics": {}}
        )

    def ended(
        self,
        cause: Cause,
        exit_status: int | None,
        message: str,
        metrics: dict[str, Any] | None = None,
    ) -> RunRecord:
        """The record after its running attempt ended."""
        last = self.attempts[-1].model_copy(
            update={"end": now(), "cause": cause, "exit_status": exit_status, "message": message}
        )
        return self.model_copy(
            update={
                "status": status_of(cause),
                "attempts": (*self.attempts[:-1], last),
                "metrics": metrics or {},
            }
        )


class RecordError(Exception):
    """A record is there but can't be read; the message names the file and the remedy."""


def status_of(cause: Cause) -> Status:
    """The status that a cause means for a scene."""
    if cause is Cause.OK:
        return "done"
    return "cancelled" if cause is Cause.CANCELLED else "failed"


def read_record(output: Path) -> RunRecord | None:
    """The record in an output folder, None where there is none yet.

    Raises RecordError when the file is unreadable or not a record: unknown is never success.
    """
    path = output / RECORD
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RecordError(
            f"{path} is not a readable run record ({_first_line(error)});"
            " move the scene's output folder aside and run again"
        ) from error


def write_record(output: Path, record: RunRecord) -> None:
    """Replace the record atomically; raises OSError when the disk refuses."""
    write_atomically(output / RECORD, record.model_dump_json(indent=1) + "\n")


def now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
