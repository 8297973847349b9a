"""The record of an experiment's aggregate: `aggregate.json` beside what it writes.

It says what became of the last one that ran, or that Slurm ended before it could.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from training.records.record import (
    Cause,
    PrintableText,
    RecordError,
    now,
    read_versioned_json,
    reason_of,
)
from training.system.atomic_write import write_atomically

AGGREGATE_RECORD = "aggregate.json"
AGGREGATE_VERSION = 1
"""Format of the records written now."""
AggregateStatus = Literal["running", "done", "failed", "cancelled", "not started"]


class AggregateRecord(BaseModel):
    """What became of one aggregate of an experiment; times are UTC."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = Field(AGGREGATE_VERSION, ge=1)
    exp_name: str
    plan_id: str
    """The plan whose scenes it merges."""
    scenes: tuple[str, ...]
    status: AggregateStatus
    start: datetime
    end: datetime | None = None
    cause: Cause | None = None
    """None while it runs, and where it was not started."""
    message: PrintableText = ""
    host: PrintableText = ""
    slurm_job_id: PrintableText = ""
    log: Path
    launch_command: str = ""
    """As in an attempt of a scene."""

    def ended(
        self, status: AggregateStatus, cause: Cause | None, message: str = ""
    ) -> AggregateRecord:
        """Return the record as it is after the aggregate has ended now."""
        update = {"status": status, "cause": cause, "message": message, "end": now()}
        return self.model_copy(update=update)


def read_aggregate(folder: Path) -> AggregateRecord | None:
    """Return the record in an experiment's folder; None where there is none.

    Raises RecordError when the file can't be read or was written by a newer version.
    """
    path = folder / AGGREGATE_RECORD
    try:
        return AggregateRecord.model_validate(read_versioned_json(path, AGGREGATE_VERSION))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise RecordError(f"{path} is not a readable record ({reason}); move it away") from error


def write_aggregate(folder: Path, record: AggregateRecord) -> None:
    """Replace the record in an experiment's folder atomically; raises OSError."""
    write_atomically(folder / AGGREGATE_RECORD, record.model_dump_json(indent=1) + "\n")
