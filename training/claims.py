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

from training.files import write_atomically
from training.processes import ProcessId, process_id
from training.records import now

FOLDER = ".claim"
RELEASED = '{"released": true}'
STALE_AFTER_S = 120.0
"""A holder on another host that has not touched its claim for so long is taken for dead."""


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

    def beat(self) -> None:
        """Show other hosts that the holder lives."""
        os.utime(self.path)

    def release(self) -> None:
        """Give the claim back; its number stays taken, or a late heir could pass a new owner."""
        write_atomically(self.path, RELEASED)


def acquire(output: Path, launcher: int, ending_s: float = 0.0, poll_s: float = 0.1) -> Claim:
    """Claim `output` for the launcher with that process number, inheriting from a dead holder.

    Waits up to `ending_s` for one that is ending.

    Raises ClaimHeldError naming the holder, OSError when the folder can't be written.
    """
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + ending_s
    while (claim := _try(folder, launcher)) is None:
        holder = holder_of(output)
        if holder is not None and not (holder.is_ending and time.monotonic() < deadline):
            raise ClaimHeldError(holder)
        time.sleep(poll_s)
    return claim


def holder_of(output: Path) -> Holder | None:
    """The living holder of an output folder's claim, None when it is free."""
    newest = _newest(output / FOLDER)
    if newest is None:
        return None
    holder = _read(newest)
    return holder if holder is not None and _lives(holder, newest) else None


def _try(folder: Path, launcher: int) -> Claim | None:
    newest = _newest(folder)
    if newest is not None and holder_of(folder.parent) is not None:
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
        slurm_job_id=os.environ.get("SLURM_JOB_ID", ""),
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


def _lives(holder: Holder, path: Path) -> bool:
    if holder.process.is_of_this_host():
        return holder.process.lives()
    return _age_s(path) < STALE_AFTER_S


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
