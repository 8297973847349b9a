"""One owner for each scene and experiment: an exclusive, heritable claim on the output folder.

Claims are numbered files in `<output>/.claim/`; the highest number counts. To take a claim is to
create the next number with link(2), which is atomic on NFS too, so of two processes that find the
same dead holder only one inherits. A claim lies beside the outputs that it guards, so that whoever
shares the results shares the claim.

Silence is not death: of a holder in a Slurm job only Slurm knows whether its job has ended. And a
holder that was taken for dead, and wakes up, finds that its claim does not count any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from preprocess.faults import why_unreadable
from training.records.record import (
    VERSION_KEY,
    RecordError,
    now,
    read_versioned_json,
    reason_of,
)
from training.system.atomic_write import write_atomically, write_durably
from training.system.claim_file import ClaimLostError, check_claim, numbered
from training.system.console import printable
from training.system.job_environment import own_job_id
from training.system.processes import ProcessId, process_id

FOLDER = ".claim"
CLAIM_VERSION = 1
"""Format of the claims written now; claims without a version are of 1, too."""
RELEASED = json.dumps({VERSION_KEY: CLAIM_VERSION, "released": True})
HEARTBEAT_EVERY_S = 15.0
STALE_AFTER_S = 120.0
"""A holder on another host may be dead when its last heartbeat is older than this, unless its claim
says otherwise; one in a Slurm job is when Slurm, too, says that its job has ended."""
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
    stale_after_s: float = STALE_AFTER_S
    """On another host it may be dead when its last heartbeat is older than this."""
    doubt: str = ""
    """Why it is not taken for dead although it is silent; in no claim's file."""

    def __str__(self) -> str:
        job = f" (Slurm job {self.slurm_job_id})" if self.slurm_job_id else ""
        doubt = f", {self.doubt}" if self.doubt else ""
        process = f"process {self.process.pid} on {self.process.host}"
        return printable(f"{process}{job} since {self.since}{doubt}")

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

    def check(self) -> None:
        """Raise ClaimLostError where another process has the folder by now; raises OSError."""
        check_claim(self.path)

    def is_of_predecessor(self, path: str) -> bool:
        """Return whether a claim's file is of an earlier holder of the same folder."""
        return Path(path).parent == self.path.parent and Path(path).stem < self.path.stem

    def heartbeat(self) -> None:
        """Show other hosts that the holder lives, unless the claim is lost: raises ClaimLostError.

        A file server that is away ends no training: what can't be asked is left for the next time.
        """
        try:
            self.check()
            os.utime(self.path)
        except ClaimLostError:
            raise
        except OSError:
            return

    def release(self) -> None:
        """Give the claim back; raises ClaimLostError where it is another's already, and OSError.

        Its number stays taken: with a number free again, a late heir could pass a new owner.
        """
        self.check()
        write_atomically(self.path, RELEASED)


@contextmanager
def claimed(
    output: Path,
    launcher: int,
    ending_s: float = 0.0,
    ended_job: EndedJob | None = None,
    *,
    gpu: str = "",
    stale_after_s: float = STALE_AFTER_S,
) -> Iterator[Claim]:
    """Hold the claim on `output` inside a `with` block and release it however the block ends.

    Arguments and errors are those of `acquire`. An OSError while releasing is suppressed: the
    claim is free as soon as this process has ended.
    """
    claim = acquire(
        output, launcher, ending_s, ended_job=ended_job, gpu=gpu, stale_after_s=stale_after_s
    )
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
    stale_after_s: float = STALE_AFTER_S,
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
    me = Holder(
        process=process_id(os.getpid()),
        launcher=process_id(launcher),
        since=now().isoformat(timespec="seconds"),
        slurm_job_id=own_job_id(),
        gpu=gpu,
        stale_after_s=stale_after_s,
    )
    while (claim := _try(folder, me, ended_job)) is None:
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
    try:
        newest = _newest(output / FOLDER)
    except OSError as error:
        remedy = why_unreadable(error)[1]
        what = f"the claim {output / FOLDER} can't be read: {reason_of(error)}"
        raise RecordError(f"{what}; {remedy}") from error
    if newest is None:
        return None
    holder = _read(newest)
    return None if holder is None else _living(holder, newest, ended_job)


def seconds_since_heartbeat(output: Path) -> float:
    """Return the age in seconds of the newest claim's last sign: taken, heartbeat or released.

    0 where nobody can tell.
    """
    try:
        newest = _newest(output / FOLDER)
    except OSError:
        return 0.0
    return STALE_AFTER_S if newest is None else _age_s(newest)


def _try(folder: Path, me: Holder, ended_job: EndedJob | None) -> Claim | None:
    newest = _newest(folder)
    if newest is not None and holder_of(folder.parent, ended_job) is not None:
        return None
    number = int(newest.stem) + 1 if newest is not None else 1
    mine = folder / f"{number:06d}.json"
    if not _create(mine, me):
        return None
    if _newest(folder) != mine:  # another process created a higher number meanwhile: that counts
        mine.unlink(missing_ok=True)
        return None
    for older in numbered(folder)[:-1]:
        older.unlink(missing_ok=True)
    return Claim(mine)


def _create(path: Path, me: Holder) -> bool:
    temporary = path.parent / f".{uuid.uuid4().hex}"
    content = {key: value for key, value in asdict(me).items() if key != "doubt"}
    try:
        # Durably: an empty claim after a power failure would block the scene.
        write_durably(temporary, json.dumps({VERSION_KEY: CLAIM_VERSION, **content}))
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _newest(folder: Path) -> Path | None:
    claims = numbered(folder)
    return claims[-1] if claims else None


def _read(path: Path) -> Holder | None:
    """Return the holder that a claim names, None when it was released; raises RecordError."""
    try:
        content = read_versioned_json(path, CLAIM_VERSION)
        return None if content.get("released") is True else _HOLDER.validate_python(content)
    except FileNotFoundError:  # removed by an heir meanwhile
        return None
    except OSError as error:
        what = f"the claim {path} can't be read: {reason_of(error)}"
        raise RecordError(f"{what}; {why_unreadable(error)[1]}") from error
    except ValueError as error:
        raise RecordError(
            f"{path} is not a readable claim ({reason_of(error)});"
            " delete it if no run of this scene is alive"
        ) from error


def _living(holder: Holder, path: Path, ended_job: EndedJob | None) -> Holder | None:
    """Return the holder where it lives, with a doubt where that is not certain; else None."""
    if holder.process.is_of_this_host():  # also one that is stopped
        return holder if holder.process.lives() else None
    if ended_job is not None and _is_of(holder, ended_job):
        is_quick = ended_job.silent_s > 0 and _age_s(path) < ended_job.silent_s
        return holder if is_quick else None
    silent_s = _age_s(path)
    if silent_s < holder.stale_after_s:
        return holder
    doubt = _doubt(holder, path)
    return replace(holder, doubt=f"silent for {silent_s:.0f} s, but {doubt}") if doubt else None


def _doubt(holder: Holder, path: Path) -> str:
    """Return why a silent holder on another host may live; empty where nothing speaks for it."""
    if not holder.slurm_job_id:
        return ""
    from training.slurm.client import SlurmError
    from training.slurm.running_job import state_of_job

    try:
        state = state_of_job(holder.slurm_job_id, _moment(holder.since))
    except SlurmError as error:
        remedy = f"try again when it does, or delete {path} if the job has ended"
        return f"Slurm does not say whether its job has ended ({error}): {remedy}"
    return f"its job is {state}: `scancel {holder.slurm_job_id}` ends it" if state else ""


def _moment(text: str) -> datetime | None:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text)
    return None


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
