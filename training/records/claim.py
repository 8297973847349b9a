"""One owner for each scene and experiment: an exclusive, heritable claim on the output folder.

Claims are numbered files in `<output>/.claim/`; the highest number counts. To take a claim is to
create the next number with link(2), which is atomic on NFS too, so of two processes that find the
same dead holder only one inherits. A claim lies beside the outputs that it guards, so that whoever
shares the results shares the claim.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from training.records.record import (
    VERSION_KEY,
    RecordError,
    now,
    read_versioned_json,
    reason_of,
)
from training.system.atomic_write import write_atomically, write_durably
from training.system.job_environment import own_job_id
from training.system.processes import ProcessId, process_id

FOLDER = ".claim"
CLAIM_VERSION = 1
"""Format of the claims written now; claims without a version are of 1, too."""
RELEASED = json.dumps({VERSION_KEY: CLAIM_VERSION, "released": True})
HEARTBEAT_EVERY_S = 15.0
STALE_AFTER_S = 120.0
"""A holder on another host is taken for dead when its last heartbeat is older than this."""
SILENT_AFTER_S = HEARTBEAT_EVERY_S + 5.0
"""A living holder's last heartbeat is never older than this."""


@dataclass(frozen=True)
class EndedJob:
    """A Slurm job that has ended according to Slurm: its processes on other hosts are dead."""

    job_id: str
    silent_s: float = 0.0
    """How old the holder's last heartbeat must be as well: SILENT_AFTER_S where the job's node was
    lost and may still run it."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim."""

    process: ProcessId
    launcher: ProcessId
    since: str
    """Start of the claim, ISO 8601 in UTC."""
    slurm_job_id: str = ""
    gpu: str = ""
    """The GPU that its trainer is pinned to; empty where it is not, and in older claims."""

    def __str__(self) -> str:
        job = f" (Slurm job {self.slurm_job_id})" if self.slurm_job_id else ""
        return f"process {self.process.pid} on {self.process.host}{job} since {self.since}"

    @property
    def is_ending(self) -> bool:
        """Whether its launcher is dead, so that the kernel has told the holder to stop."""
        return self.launcher.is_of_this_host() and not self.launcher.lives()


_HOLDER = TypeAdapter(Holder)  # ignores keys that it does not know


class ClaimHeldError(Exception):
    """Another run holds the claim."""

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        super().__init__(f"held by {holder}")


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds."""

    path: Path

    def heartbeat(self) -> None:
        """Show other hosts that the holder lives; raises OSError."""
        os.utime(self.path)

    def release(self) -> None:
        """Give the claim back; raises OSError.

        Its number stays taken: with a number free again, a late heir could pass a new owner.
        """
        write_atomically(self.path, RELEASED)


@contextmanager
def claimed(
    output: Path,
    launcher: int,
    ending_s: float = 0.0,
    ended_job: EndedJob | None = None,
    *,
    gpu: str = "",
) -> Iterator[Claim]:
    """Hold the claim on `output` inside a `with` block and release it however the block ends.

    Arguments and errors are those of `acquire`. An OSError while releasing is suppressed: the
    claim is free as soon as this process has ended.
    """
    claim = acquire(output, launcher, ending_s, ended_job=ended_job, gpu=gpu)
    try:
        yield claim
    finally:
        with contextlib.suppress(OSError):
            claim.release()


def acquire(
    output: Path,
    launcher: int,
    ending_s: float = 0.0,
    poll_s: float = 0.1,
    ended_job: EndedJob | None = None,
    *,
    gpu: str = "",
) -> Claim:
    """Claim `output` for the launcher with that process number, inheriting from a dead holder.

    A holder in `ended_job` on another host is dead once its last heartbeat is as old as that says.
    Waits up to `ending_s` seconds for a holder that is ending, or whose job has ended.

    Raises ClaimHeldError naming the holder, RecordError when the present claim can't be read, and
    OSError when the folder can't be written.
    """
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + ending_s
    while (claim := _try(folder, launcher, ended_job, gpu)) is None:
        holder = holder_of(output, ended_job)
        if holder is not None:
            is_ending = holder.is_ending or _is_of(holder, ended_job)
            if not is_ending or time.monotonic() >= deadline:
                raise ClaimHeldError(holder)
        time.sleep(poll_s)
    return claim


def holder_of(output: Path, ended_job: EndedJob | None = None) -> Holder | None:
    """Return the living holder of an output folder's claim, None when the claim is free.

    Raises RecordError when the claim can't be read, or was written by a newer version of this
    program: then nobody knows whether it is free.
    """
    newest = _newest(output / FOLDER)
    if newest is None:
        return None
    holder = _read(newest)
    return holder if holder is not None and _lives(holder, newest, ended_job) else None


def seconds_since_heartbeat(output: Path) -> float:
    """Return the age in seconds of the newest claim's last sign: taken, heartbeat or released."""
    newest = _newest(output / FOLDER)
    return STALE_AFTER_S if newest is None else _age_s(newest)


def _try(folder: Path, launcher: int, ended_job: EndedJob | None, gpu: str) -> Claim | None:
    newest = _newest(folder)
    if newest is not None and holder_of(folder.parent, ended_job) is not None:
        return None
    number = int(newest.stem) + 1 if newest is not None else 1
    mine = folder / f"{number:06d}.json"
    if not _create(mine, launcher, gpu):
        return None
    if _newest(folder) != mine:  # another process created a higher number meanwhile: that counts
        mine.unlink(missing_ok=True)
        return None
    for older in _numbered(folder)[:-1]:
        older.unlink(missing_ok=True)
    return Claim(mine)


def _create(path: Path, launcher: int, gpu: str) -> bool:
    me = Holder(
        process=process_id(os.getpid()),
        launcher=process_id(launcher),
        since=now().isoformat(timespec="seconds"),
        slurm_job_id=own_job_id(),
        gpu=gpu,
    )
    temporary = path.parent / f".{uuid.uuid4().hex}"
    try:
        # Durably: an empty claim after a power failure would block the scene.
        write_durably(temporary, json.dumps({VERSION_KEY: CLAIM_VERSION, **asdict(me)}))
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.stem.isdigit())


def _newest(folder: Path) -> Path | None:
    numbered = _numbered(folder)
    return numbered[-1] if numbered else None


def _read(path: Path) -> Holder | None:
    """Return the holder that a claim names, None when it was released; raises RecordError."""
    try:
        content = read_versioned_json(path, CLAIM_VERSION)
        return None if content.get("released") is True else _HOLDER.validate_python(content)
    except FileNotFoundError:  # removed by an heir meanwhile
        return None
    except OSError as error:
        raise RecordError(f"the claim {path} can't be read: {error}") from error
    except ValueError as error:
        raise RecordError(
            f"{path} is not a readable claim ({reason_of(error)});"
            " delete it if no run of this scene is alive"
        ) from error


def _lives(holder: Holder, path: Path, ended_job: EndedJob | None) -> bool:
    if holder.process.is_of_this_host():
        return holder.process.lives()
    if ended_job is not None and _is_of(holder, ended_job):
        return ended_job.silent_s > 0 and _age_s(path) < ended_job.silent_s
    return _age_s(path) < STALE_AFTER_S


def _is_of(holder: Holder, job: EndedJob | None) -> bool:
    return job is not None and holder.slurm_job_id == job.job_id


def _age_s(path: Path) -> float:
    """Return a file's age by the file server's clock, since hosts' clocks differ."""
    probe = path.parent / f".{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:  # gone, or a folder that we may only read
        return time.time() - path.stat().st_mtime if path.exists() else STALE_AFTER_S
    finally:
        probe.unlink(missing_ok=True)
