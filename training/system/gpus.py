"""The GPUs of this machine, and a lock for each of them."""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from training.system.job_environment import own_job_id
from training.system.private_folder import make_private_folder

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
LIST = ("nvidia-smi", "-L")
LISTED = re.compile(r"^(GPU (?P<index>\d+):)?.*\(UUID: (?P<name>[^)]+)\)$")
"""A line such as `GPU 0: NVIDIA H200 (UUID: GPU-8932f937-…)`; parts of a GPU are indented."""
DEVICE_ORDER, BY_BUS = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
"""By default CUDA numbers GPUs by speed, nvidia-smi by their place on the bus."""
QUERY_TIMEOUT_S = 30
LOCKS = Path("/tmp")  # noqa: S108 - the same for all sessions of a user; the folder there is checked
GPU_ID = re.compile(r"\d+|(GPU|MIG)-.+")
"""An index, or a name as `nvidia-smi -L` lists it."""


def visible_gpus(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the ids of usable GPUs: those in CUDA_VISIBLE_DEVICES if it is set, else all.

    As CUDA does, reads that list up to the first word that is no id, such as -1 or the NoDevFiles
    of Slurm. Empty where there is no GPU, or the driver does not answer.
    """
    environ = os.environ if environ is None else environ
    if VISIBLE_GPUS in environ:
        ids = (item.strip() for item in environ[VISIBLE_GPUS].split(","))
        return tuple(itertools.takewhile(GPU_ID.fullmatch, ids))
    return _ask_driver(QUERY)


def _ask_driver(query: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines of nvidia-smi's answer; none where there is no GPU or no answer."""
    if shutil.which(query[0]) is None:
        return ()
    try:
        answer = subprocess.run(
            query, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(answer.stdout.strip().splitlines())


@functools.cache
def _names() -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the whole name of each GPU by index, and all names, also of parts of GPUs (MIG)."""
    found = [LISTED.search(line) for line in _ask_driver(LIST)]
    listed = [(each["index"], each["name"]) for each in found if each]
    return {index: name for index, name in listed if index}, tuple(name for _, name in listed)


def whole_name(gpu: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the whole UUID of a GPU that is named by index or by the beginning of its UUID.

    The id as it is, where the driver does not answer or the user has CUDA number GPUs by speed.
    """
    environ = os.environ if environ is None else environ
    by_index, names = _names()
    if not names:
        _names.cache_clear()  # the next answer counts: two names of one GPU would be two locks
    if gpu.isdecimal():
        is_drivers_order = len(by_index) == 1 or environ.get(DEVICE_ORDER, BY_BUS) == BY_BUS
        return by_index.get(gpu, gpu) if is_drivers_order else gpu
    matching = [name for name in names if name.startswith(gpu)]
    return matching[0] if len(matching) == 1 else gpu


def with_device_order(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables with which CUDA numbers GPUs as nvidia-smi does, unless they say how."""
    return {DEVICE_ORDER: BY_BUS, **environ}


def lock_file(gpu: str) -> Path | None:
    """Return the file that locks a GPU for this user on this machine, whatever run it belongs to.

    Inside a Slurm job indices are the job's own, and so is the file. None where the folder can't be
    made or is somebody else's.
    """
    try:
        folder = make_private_folder(LOCKS / f"training-scheduler-{os.getuid()}")
    except OSError:
        return None
    name = re.sub(r"[^A-Za-z0-9-]", "-", whole_name(gpu))
    return folder / "-".join(filter(None, ["gpu", own_job_id(), name]))


def try_lock(file: Path, *, shared: bool = False) -> int | None:
    """Lock a file and return its descriptor, which no child inherits; None while it is locked.

    `shared`: beside others that share it.
    """
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
