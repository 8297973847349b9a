"""The result of one call to run a scene, as plain data that travels between processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from training.records.record import Cause, PrintableText, RunRecord


class Outcome(BaseModel):
    """How one attempt ended; `held`: another run has the scene, and nothing was done."""

    model_config = ConfigDict(frozen=True)

    scene: str
    status: Literal["done", "failed", "cancelled", "held"]
    cause: Cause | None = None
    message: PrintableText = ""
    log: Path
    seconds: float = 0.0
    """Of all attempts."""
    attempt_s: float = 0.0
    """Seconds of this attempt."""
    attempts: int = 0
    """How many there were, this one included."""
    metrics: dict[str, Any] = {}
    has_checkpoint: bool = False
    host: str = ""
    """The machine that it ran on; in Slurm, the node's name."""
    slurm_job_id: str = ""
    notice: str = ""
    """What a person is to be told about how scenes are started, once."""

    def __str__(self) -> str:
        return f"{self.scene} {self.what}{self.where_and_why}"

    @property
    def what(self) -> str:
        """Status, of a failure with its cause: `done`, `cancelled`, `failed (timeout)`."""
        says_it_all = self.cause in (None, Cause.OK, Cause.CANCELLED)
        return self.status if says_it_all else f"{self.status} ({self.cause})"

    @property
    def where_and_why(self) -> str:
        """` in Slurm job 12 on n1: the message`; empty without both."""
        return self.place + (f": {self.message}" if self.message else "")

    @property
    def place(self) -> str:
        """` in Slurm job 12 on n1`; empty outside Slurm."""
        return f" in Slurm job {self.slurm_job_id} on {self.host}" if self.slurm_job_id else ""


def outcome_of(scene: str, record: RunRecord, log: Path, has_checkpoint: bool) -> Outcome:
    """Return the outcome of the last attempt in a record, which has ended.

    `scene`: as the plan names it, of a sweep with its setting.
    """
    last = record.attempts[-1]
    return Outcome(
        scene=scene,
        status="failed" if record.status == "running" else record.status,
        cause=last.cause,
        message=last.message,
        log=log,
        seconds=record.seconds,
        attempt_s=record.last_seconds,
        attempts=len(record.attempts),
        metrics=record.metrics,
        has_checkpoint=has_checkpoint,
        host=last.host,
        slurm_job_id=last.slurm_job_id,
    )
