"""The GPUs of this machine, and one for each scene that runs on it."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
QUERY_TIMEOUT_S = 30


def visible_gpus(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Ids of the GPUs that we may use: CUDA_VISIBLE_DEVICES where it is set, else all there are."""
    environ = os.environ if environ is None else environ
    if "CUDA_VISIBLE_DEVICES" in environ:
        ids = (item.strip() for item in environ["CUDA_VISIBLE_DEVICES"].split(","))
        return tuple(item for item in ids if item not in ("", "-1"))
    if shutil.which(QUERY[0]) is None:
        return ()
    try:
        answer = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):  # a driver that does not answer: no GPU for us
        return ()
    return tuple(answer.stdout.split())


class GpuSlots:
    """Lends each GPU to one scene at a time; lends None on a machine without GPUs."""

    def __init__(self, gpus: Sequence[str]) -> None:
        self._free: queue.SimpleQueue[str] | None = queue.SimpleQueue() if gpus else None
        for gpu in gpus:
            self._give_back(gpu)

    @contextmanager
    def lend(self) -> Iterator[str | None]:
        """One free GPU; raises queue.Empty when there are more borrowers than GPUs."""
        gpu = self._free.get_nowait() if self._free else None
        try:
            yield gpu
        finally:
            self._give_back(gpu)

    def _give_back(self, gpu: str | None) -> None:
        if self._free is not None and gpu is not None:
            self._free.put(gpu)
