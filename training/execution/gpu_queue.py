"""One scene at a time on each GPU, over all runs of a user on this machine.

A lock file for each GPU says who has it. The kernel frees the lock when its holder dies. A trainer
may outlive it for the rest of its grace, when its launcher was killed, when a flow stops, or when a
Dask worker was lost: the scene's claim, which names the GPU, tells until when.
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
from training.plan.model import ScenePlan
from training.records.claim import holder_of
from training.records.record import RecordError
from training.system.gpus import lock_file, try_lock

POLL_S = 1.0


class GivenUpError(Exception):
    """A scene does not wait for a GPU any more."""


@contextmanager
def lent_gpu(
    gpus: Sequence[str],
    scene: ScenePlan,
    on_wait: Callable[[str], None],
    gives_up: Callable[[], bool],
) -> Iterator[str | None]:
    """Lend a free GPU for the duration of the `with` block, None where there are none.

    While all are in use, by this run or another one, the caller waits; `on_wait` is told once by
    whom. Raises GivenUpError when `gives_up` says so meanwhile.
    """
    if not gpus:
        yield None
        return
    gpu, lock = _wait_for_any(gpus, scene, on_wait, gives_up)
    try:
        if lock is not None:
            _write(lock, {"pid": os.getpid(), "output": str(scene.output)})
        yield gpu
        if lock is not None:
            _write(lock, {})  # not after an exception: the trainer may live
    finally:
        if lock is not None:
            os.close(lock)


def _wait_for_any(
    gpus: Sequence[str],
    scene: ScenePlan,
    on_wait: Callable[[str], None],
    gives_up: Callable[[], bool],
) -> tuple[str, int | None]:
    """Return a GPU and its lock; no lock where this machine has no place for locks of ours."""
    was_told = False
    while True:
        for gpu in gpus:
            file = lock_file(gpu)
            if file is None:
                return gpu, None
            lock = try_lock(file)
            if lock is not None and not _has_trainer(file):
                return gpu, lock
            if lock is not None:
                os.close(lock)
        if gives_up():
            raise GivenUpError
        if not was_told:
            on_wait(f"{scene.name}: waits for a GPU, {'; '.join(map(_user_of, gpus))}")
            was_told = True
        time.sleep(POLL_S)


def _user_of(gpu: str) -> str:
    file = lock_file(gpu)
    user = _read(file) if file else {}
    if "output" not in user:  # it has only just got the GPU
        return f"{gpu} is in use"
    output = Path(user["output"])
    return f"{gpu} trains {output.parent.name} of {output.name} (process {user.get('pid', '?')})"


def _has_trainer(file: Path) -> bool:
    """Return whether the trainer still runs that the last holder of a GPU's lock has started."""
    user = _read(file)
    try:
        holder = holder_of(Path(user["output"])) if "output" in user else None
    except (RecordError, OSError):  # nobody can tell
        return False
    if holder is None or not holder.process.is_of_this_host():
        return False
    return not holder.gpu or lock_file(holder.gpu) == file  # else it trains on another one by now


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
