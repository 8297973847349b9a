"""The record of a controller: a flow that runs in a Slurm job of its own, queued again when lost.

It stands beside the first plan's file. Every start of the flow is noted in it; the last one owns
the run, and an earlier one that still lives ends itself when it sees that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from training.records.record import RecordError, now, read_versioned_json, reason_of
from training.system.atomic_write import write_atomically

CONTROLLER_VERSION = 1
"""Format of the records written now."""


class ControllerStart(BaseModel):
    """One start of the flow in the controller's job; times are UTC."""

    model_config = ConfigDict(frozen=True)

    start: datetime
    host: str
    job_id: str
    plans: dict[str, str]
    """The plan that this start runs, by the plan that was submitted; ids."""


class ControllerRecord(BaseModel):
    """What a controller is to do, how often it was started, and how it ended."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = Field(CONTROLLER_VERSION, ge=1)
    plans: tuple[str, ...]
    """Ids of the plans that were submitted, in the order in which they run."""
    options: dict[str, Any]
    """The flow's options as they were typed."""
    starts: tuple[ControllerStart, ...] = ()
    end: datetime | None = None
    """None while it runs, is queued, or is gone without having said so."""
    exit_status: int | None = None
    message: str = ""
    """Why it ended, where the flow itself did not say so in its log."""

    def started(self, host: str, job_id: str, plans: Mapping[str, str]) -> ControllerRecord:
        """Return the record with one more start, now."""
        start = ControllerStart(start=now(), host=host, job_id=job_id, plans=dict(plans))
        return self.model_copy(update={"starts": (*self.starts, start), "end": None})

    def ended(self, exit_status: int | None, message: str = "") -> ControllerRecord:
        """Return the record as it is after the controller has ended for good, now."""
        update = {"end": now(), "exit_status": exit_status, "message": message}
        return self.model_copy(update=update)

    @property
    def all_plans(self) -> frozenset[str]:
        """Ids of all plans that it has run or is to run."""
        return frozenset([*self.plans, *(each for s in self.starts for each in s.plans.values())])


def controller_file(plan_file: Path) -> Path:
    """Return the file of the controller that was submitted with a plan."""
    return plan_file.with_suffix(".controller")


def read_controller(plan_file: Path) -> ControllerRecord | None:
    """Return the record of the controller of a plan; None where it has none.

    Raises RecordError when the file can't be read or was written by a newer version.
    """
    path = controller_file(plan_file)
    try:
        return ControllerRecord.model_validate(read_versioned_json(path, CONTROLLER_VERSION))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise RecordError(f"{path} is not a readable record ({reason}); move it away") from error


def write_controller(plan_file: Path, record: ControllerRecord) -> None:
    """Replace the record of a plan's controller atomically; raises OSError.

    Only its owner can read it: overrides may hold secrets.
    """
    content = record.model_dump_json(indent=1) + "\n"
    write_atomically(controller_file(plan_file), content, private=True)


def note_controller_job(plan_file: Path, job_id: str) -> None:
    """Note the job that was submitted last, in a file of its own: it may write the record already.

    Raises OSError.
    """
    write_atomically(plan_file.with_suffix(".controller_job"), f"{job_id}\n")


def controller_job_id(plan_file: Path) -> str:
    """Return the id of the job that was submitted last for a plan's controller; empty if none."""
    with contextlib.suppress(OSError):
        return plan_file.with_suffix(".controller_job").read_text(encoding="ascii").strip()
    return ""
