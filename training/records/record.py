"""The run record: `run.json` beside a scene's outputs, which says what became of the scene."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from preprocess.faults import why_unreadable
from training.system.atomic_write import write_atomically
from training.system.console import printable
from training.system.presence import check_no_dangling_link

RECORD = "run.json"
VERSION_KEY = "schema_version"
RECORD_VERSION = 2
"""Format of the records written now. Version 1 was written until the trainer's code left the
fingerprint. Raise it when an older program would misread a record: when a key changes its meaning,
or a status or cause is added. A new key alone is no new version: readers ignore unknown keys."""

Status = Literal["running", "done", "failed", "cancelled"]
PrintableText = Annotated[str, AfterValidator(printable)]
"""Text that people are shown: whoever has written the record, it controls no terminal."""


class Cause(StrEnum):
    """How an attempt ended and why."""

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


class CodeVersion(BaseModel):
    """Which version of the trainer's source code an attempt ran."""

    model_config = ConfigDict(frozen=True)

    digest: PrintableText
    """Over the syntax trees of the sources that its run mode uses."""
    content: str = ""
    """Hash of all sources of the checkout: where it is equal, so is the digest."""
    commit: PrintableText = ""
    """Git commit of the checkout; empty where it is not known."""
    is_clean: bool | None = None
    """Whether tracked files were as in the commit; None where it is not known."""

    def __str__(self) -> str:
        changed = " with changes" if self.is_clean is False else ""
        commit = f" (commit {self.commit[:7]}{changed})" if self.commit else ""
        return f"{self.digest[:7]}{commit}"


class Attempt(BaseModel):
    """One start of a scene's trainer, in UTC; `end` and `cause` are None while it runs."""

    model_config = ConfigDict(frozen=True)

    start: datetime
    host: PrintableText
    pid: int
    end: datetime | None = None
    exit_status: int | None = None
    cause: Cause | None = None
    message: PrintableText = ""
    slurm_job_id: PrintableText = ""
    gpu: PrintableText = ""
    """The GPU that it was pinned to; empty where the job or CUDA decided, and in older records."""
    scenes_on_gpu: int = 1
    """How many scenes might be on its GPU at once, itself included; 1 in older records, too."""
    code_version: CodeVersion | None = None
    """None in records of the version before, and where no trainer was started."""
    snapshot: str = ""
    """Digest of the copy of the sources that it ran from; empty where it ran without one."""
    command: str = ""
    """The trainer's command line with its environment, as a line for a shell; empty in older
    records."""
    launch_command: str = ""
    """The command line that was typed to launch it, or one that does the same as the form; empty in
    older records."""
    versions: dict[str, str] = {}
    """Of this project, Python and libraries that were installed where it ran; empty in older
    records."""


class RunRecord(BaseModel):
    """What became of one scene in one experiment."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = Field(RECORD_VERSION, ge=1)
    """The format in which the record was begun."""
    scene: str
    exp_name: str
    fingerprint: str
    configuration: dict[str, Any] = {}
    """What the fingerprint is of, resolved; empty in records of the version before."""
    status: Status
    attempts: tuple[Attempt, ...] = ()
    metrics: dict[str, Any] = {}

    @property
    def last(self) -> Attempt | None:
        """The last attempt; None before the first."""
        return self.attempts[-1] if self.attempts else None

    @property
    def cause(self) -> Cause | None:
        """Cause of the last attempt; None while it runs, or before the first."""
        return self.last.cause if self.last else None

    @property
    def code_version(self) -> CodeVersion | None:
        """Code of the last attempt that knows its own; None in records of the version before."""
        known = [each.code_version for each in self.attempts if each.code_version]
        return known[-1] if known else None

    @property
    def seconds(self) -> float:
        """Seconds spent in all finished attempts."""
        return sum((a.end - a.start).total_seconds() for a in self.attempts if a.end)

    @property
    def last_seconds(self) -> float:
        """Seconds of the last attempt; 0 before the first, and while it runs."""
        last = self.last
        return (last.end - last.start).total_seconds() if last and last.end else 0.0

    def started(self, attempt: Attempt) -> RunRecord:
        """Return the record as it is while `attempt` runs."""
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
        """Return the record as it is after its last attempt has ended now."""
        last = self.attempts[-1]
        end = max(now(), last.start)  # the clock may have been set back meanwhile
        last = last.model_copy(
            update={"end": end, "cause": cause, "exit_status": exit_status, "message": message}
        )
        return self.model_copy(
            update={
                "status": status_of(cause),
                "attempts": (*self.attempts[:-1], last),
                "metrics": metrics or {},
            }
        )


class RecordError(Exception):
    """A record or claim exists but can't be read; the message names the file and the remedy."""


def status_of(cause: Cause) -> Status:
    """Return the status of a scene whose last attempt ended by this cause."""
    if cause is Cause.OK:
        return "done"
    return "cancelled" if cause is Cause.CANCELLED else "failed"


def read_record(output: Path) -> RunRecord | None:
    """Return the record in an output folder; None where there is none yet.

    Raises RecordError when the file can't be read, is not a record, or was written by a newer
    version of this program: unknown is never success.
    """
    path = output / RECORD
    try:
        return RunRecord.model_validate(read_versioned_json(path, RECORD_VERSION))
    except FileNotFoundError:
        try:
            check_no_dangling_link(path)
        except FileNotFoundError as error:
            remedy = f"put back what {error.filename} leads to, or remove it and run again"
            what = f"{path} is not a readable run record ({error.strerror})"
            raise RecordError(f"{what}: {remedy}") from error
        return None
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} is not a readable run record ({reason_of(error)});"
            f" {_repair(error)}move the scene's output folder aside and run again"
        ) from error


def _repair(error: Exception) -> str:
    """Return what to try first with a file that the disk refuses."""
    return f"{why_unreadable(error)[1]}, or " if isinstance(error, OSError) else ""


def read_versioned_json(path: Path, newest: int) -> dict[str, Any]:
    """Return the JSON object in a file, as `versioned_json` does; raises OSError too."""
    return versioned_json(path.read_bytes(), path, newest)


def versioned_json(text: bytes, path: Path, newest: int) -> dict[str, Any]:
    """Return the JSON object in a file's text; without its format's version it is of version 1.

    Raises RecordError for a version above `newest`, ValueError for anything but a JSON object.
    """
    content = from_json(text)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the file is wrong, not a type
    version = content.setdefault(VERSION_KEY, 1)
    if isinstance(version, int) and version > newest:
        raise RecordError(
            f"{path} was written by a newer version of this program (format {version}; this one"
            f" reads up to {newest}): update the program, or move the file away"
        )
    return content


def write_record(output: Path, record: RunRecord) -> None:
    """Replace the record in an output folder atomically; raises OSError when the disk refuses."""
    write_atomically(output / RECORD, record.model_dump_json(indent=1) + "\n")


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def reason_of(error: Exception) -> str:
    """Return what is wrong with a file, in one line: of a failed validation its first finding."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # whoever calls names the file
    return str(error).partition("\n")[0]
