"""Places for scenes on the GPUs of this machine, over all runs of a user.

A scene is alone on a GPU, or beside others up to a bound. A lock file for each GPU says who has it:
one scene by an exclusive lock, or several by shared ones and a file with a lock for each of them.
The kernel frees a lock when its holder dies. A trainer may outlive it for the rest of its grace,
when its launcher was killed, when a flow stops, or when a Dask worker was lost: the scene's claim,
which names the GPU, tells until when.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preprocess.json_file import read_json
from training.execution.gpu_sharing import GpuSharing
from training.plan.model import ScenePlan
from training.plan.options import MAX_SCENES_PER_GPU
from training.records.claim import holder_of
from training.records.record import RecordError
from training.system.gpus import lock_file, try_lock

POLL_S = 1.0
COUNT_POLL_S, COUNT_TIMEOUT_S = 0.01, 1.0
"""Counting a GPU's scenes takes a millisecond; another process may have been suspended in it."""
Locks = tuple[int, ...]
"""Descriptors of lock files, the last one's file names the scene; empty where this machine has no
place for locks of ours."""


class GivenUpError(Exception):
    """A scene does not wait for a GPU any more."""


@contextmanager
def lent_gpu(
    gpus: Sequence[str],
    scene: ScenePlan,
    sharing: GpuSharing,
    on_wait: Callable[[str], None],
    gives_up: Callable[[], bool],
) -> Iterator[str | None]:
    """Lend a place on a GPU for the duration of the `with` block; yield None where there are none.

    `sharing` says how many scenes may be there, and is told when this one is. While all places are
    taken, by this run or another one, the caller waits; `on_wait` is told once by which others. One
    who has only just taken a GPU has not yet written who it is: that is looked at a second time.
    Raises GivenUpError when `gives_up` says so meanwhile.
    """
    if not gpus:
        yield None
        return
    gpu, locks = _wait_for_any(gpus, scene, sharing, on_wait, gives_up)
    try:
        if locks:
            _write(locks[-1], {"pid": os.getpid(), "output": str(scene.output)})
        yield gpu
        if locks:
            _write(locks[-1], {})  # not after an exception: the trainer may live
    finally:
        for lock in locks:
            os.close(lock)


def _wait_for_any(
    gpus: Sequence[str],
    scene: ScenePlan,
    sharing: GpuSharing,
    on_wait: Callable[[str], None],
    gives_up: Callable[[], bool],
) -> tuple[str, Locks]:
    was_told, unnamed = False, set[str]()
    while True:
        bound = sharing.bound_of(scene.name)
        if place := _free_place(gpus, bound):
            sharing.started(scene.name, bound)
            return place
        if gives_up():
            raise GivenUpError
        unnamed_before, unnamed = unnamed, {gpu for gpu in gpus if not _users(gpu)}
        if not was_told and (unnamed & unnamed_before or any(map(_has_others, gpus))):
            on_wait(f"{scene.name}: waits for a GPU, {'; '.join(map(_users_of, gpus))}")
            was_told = True
        time.sleep(POLL_S)


def _free_place(gpus: Sequence[str], bound: int) -> tuple[str, Locks] | None:
    """Take a place on the GPU with the fewest scenes, if it has fewer than `bound`."""
    for scenes in range(1, bound + 1):
        for gpu in gpus:
            file = lock_file(gpu)
            if file is None:
                return gpu, ()
            locks = _lock_beside(file, scenes) if bound > 1 else _lock_alone(file)
            if locks:
                return gpu, locks
    return None


def _lock_alone(file: Path) -> Locks:
    """Lock a GPU that no other scene is on; return no lock where there is one."""
    lock = try_lock(file)
    if lock is not None and not any(map(_has_trainer, _files(file))):
        return (lock,)
    _close(lock)
    return ()


def _lock_beside(file: Path, scenes: int) -> Locks:
    """Lock a place on a GPU that will have at most so many scenes; return no lock if it is full."""
    whole = try_lock(file, shared=True)
    if whole is not None and not _has_trainer(file):
        place = _lock_place(file, scenes)
        if place is not None:
            return whole, place
    _close(whole)
    return ()


def _lock_place(file: Path, scenes: int) -> int | None:
    taken, free = 0, None
    with _counting(file) as may_count:
        for place in _places(file) if may_count else ():
            if free is not None and not place.exists():
                continue
            lock = try_lock(place)
            is_taken = lock is None or _has_trainer(place)
            taken += is_taken
            if is_taken or free is not None:
                _close(lock)
            else:
                free = lock
        if taken < scenes:
            return free
        _close(free)
        return None


@contextmanager
def _counting(file: Path) -> Iterator[bool]:
    """Let one thread of all processes count a GPU's scenes; yield whether it is this one."""
    counter = file.with_name(f"{file.name}.count")
    deadline = time.monotonic() + COUNT_TIMEOUT_S
    while (lock := try_lock(counter)) is None and time.monotonic() < deadline:
        time.sleep(COUNT_POLL_S)
    try:
        yield lock is not None
    finally:
        _close(lock)


def _close(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _places(file: Path) -> list[Path]:
    """Return the files of the places on a GPU, given its own; they need not exist."""
    return [file.with_name(f"{file.name}.{number}") for number in range(MAX_SCENES_PER_GPU)]


def _files(file: Path) -> list[Path]:
    """Return the files that may name a scene on a GPU, given its own."""
    return [file, *(place for place in _places(file) if place.exists())]


def _has_others(gpu: str) -> bool:
    """Return whether another process's scene is known to be on a GPU, so that one is told of it."""
    return any(user.get("pid") != os.getpid() for user in _users(gpu))


def _users_of(gpu: str) -> str:
    users = _users(gpu)
    if not users:  # not by a scene of ours, or its disk is full
        return f"{gpu} is in use"
    outputs = [Path(user["output"]) for user in users]
    named = [
        f"{output.parent.name} of {output.name} (process {user.get('pid', '?')})"
        for output, user in zip(outputs, users, strict=True)
    ]
    return f"{gpu} trains {' and '.join(named)}"


def _users(gpu: str) -> list[dict[str, Any]]:
    """Return who is on a GPU: the scenes in its files, except those of processes that have died."""
    file = lock_file(gpu)
    named = [(each, _read(each)) for each in (_files(file) if file else [])]
    return [
        user
        for each, user in named
        if "output" in user and (Path(f"/proc/{user.get('pid')}").exists() or _has_trainer(each))
    ]


def _has_trainer(file: Path) -> bool:
    """Return whether the trainer still runs that the last holder of a lock has started."""
    user = _read(file)
    try:
        holder = holder_of(Path(user["output"])) if "output" in user else None
    except (RecordError, OSError):  # nobody can tell
        return False
    if holder is None or not holder.process.is_of_this_host():
        return False
    # Else it trains on another one by now.
    return not holder.gpu or lock_file(holder.gpu) == file.with_suffix("")


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = read_json(file)
        if isinstance(found, dict):
            return found
    return {}


def _write(lock: int, user: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a full disk: then the lock has no name on it
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(user).encode(), 0)
