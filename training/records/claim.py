"""One owner for each scene and experiment: an exclusive, heritable claim on the output folder.

Claims are numbered files in `<output>/.claim/`; the highest number counts. To take a claim is to
create the next number with link(2), which is atomic on NFS too, so of two that find the same dead
holder only one inherits. A claim lives beside the outputs that it guards, so that whoever shares
the results shares the claim.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from training.records.record import now
from training.system.atomic_write import write_atomically
from training.system.job_environment import own_job_id
from training.system.processes import ProcessId, process_id

FOLDER = ".claim"
RELEASED = '{"released": true}'
HEARTBEAT_EVERY_S = 15.0
STALE_AFTER_S = 120.0
"""A holder on another host that has not touched its claim for so long is taken for dead."""
SILENT_AFTER_S = HEARTBEAT_EVERY_S + 5.0
"""A holder that lives has shown it within so long."""


@dataclass(frozen=True)
class EndedJob:
    """A Slurm job whose end is known by Slurm's word, and so that of its processes elsewhere."""

    job_id: str
    silent_s: float = 0.0
    """How long its holder must not have shown itself: SILENT_S where its node may still run it."""


@dataclass(frozen=True)
class Holder:
    """Who holds a claim."""

    process: ProcessId
    launcher: ProcessId
    since: str
    slurm_job_id: str = ""

    def __str__(self) -> str:
        job = f" (Slurm job {self.slurm_job_id})" if self.slurm_job_id else ""
        return f"process {self.process.pid} on {self.process.host}{job} since {self.since}"

    @property
    def is_ending(self) -> bool:
        """Whether its launcher is dead, so that the kernel has told it to stop."""
        return self.launcher.is_of_this_host() and not self.launcher.lives()


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
        """Show other hosts that the holder lives."""
        os.utime(self.path)

    def release(self) -> None:
        """Give the claim back; its number stays taken, or a late heir could pass a new owner."""
        write_atomically(self.path, RELEASED)


def acquire(
    output: Path,
    launcher: int,
    ending_s: float = 0.0,
    poll_s: float = 0.1,
    ended_job: EndedJob | None = None,
) -> Claim:
    """Claim `output` for the launcher with that process number, inheriting from a dead holder.

    A holder of `ended_job` on another host is dead once it has been silent for as long as that
    says. Waits up to `ending_s` for one that is ending, or whose job has ended.

    Raises ClaimHeldError naming the holder, OSError when the folder can't be written.
    """
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + ending_s
    while (claim := _try(folder, launcher, ended_job)) is None:
        holder = holder_of(output, ended_job)
        if holder is not None:
            is_ending = holder.is_ending or _is_of(holder, ended_job)
            if not is_ending or time.monotonic() >= deadline:
                raise ClaimHeldError(holder)
        time.sleep(poll_s)
    return claim


def holder_of(output: Path, ended_job: EndedJob | None = None) -> Holder | None:
    """The living holder of an output folder's claim, None when it is free."""
    newest = _newest(output / FOLDER)
    if newest is None:
        return None
    holder = _read(newest)
    return holder if holder is not None and _lives(holder, newest, ended_job) else None


def seconds_since_heartbeat(output: Path) -> float:
    """Seconds since the last claim of an output folder was taken, shown to live or given back."""
    newest = _newest(output / FOLDER)
    return STALE_AFTER_S if newest is None else _age_s(newest)


def _try(folder: Path, launcher: int, ended_job: EndedJob | None) -> Claim | None:
    newest = _newest(folder)
    if newest is not None and holder_of(folder.parent, ended_job) is not None:
        return None
    number = int(newest.stem) + 1 if newest is not None else 1
    mine = folder / f"{number:06d}.json"
    if not _create(mine, launcher):
        return None
    if _newest(folder) != mine:  # somebody went on while we looked: theirs counts
        mine.unlink(missing_ok=True)
        return None
    for older in _numbered(folder)[:-1]:
        older.unlink(missing_ok=True)
    return Claim(mine)


def _create(path: Path, launcher: int) -> bool:
    me = Holder(
        process=process_id(os.getpid()),
        launcher=process_id(launcher),
        since=now().isoformat(timespec="seconds"),
        slurm_job_id=own_job_id(),
    )
    temporary = path.parent / f".{uuid.uuid4().hex}"
    try:
        temporary.write_text(json.dumps(asdict(me)), encoding="utf-8")
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        process, launcher = (ProcessId(**content[key]) for key in ("process", "launcher"))
        return Holder(process, launcher, content["since"], content["slurm_job_id"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # released, or not a claim
        return None


def _lives(holder: Holder, path: Path, ended_job: EndedJob | None) -> bool:
    if holder.process.is_of_this_host():
        return holder.process.lives()
    if ended_job is not None and _is_of(holder, ended_job):
        return ended_job.silent_s > 0 and _age_s(path) < ended_job.silent_s
    return _age_s(path) < STALE_AFTER_S


def _is_of(holder: Holder, job: EndedJob | None) -> bool:
    return job is not None and holder.slurm_job_id == job.job_id


def _age_s(path: Path) -> float:
    """Age by the file server's clock: hosts' clocks differ."""
    probe = path.parent / f".{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:  # gone, or a folder that we may only read
        return time.time() - path.stat().st_mtime if path.exists() else STALE_AFTER_S
    finally:
        probe.unlink(missing_ok=True)
