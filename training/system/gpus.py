"""The GPUs of this machine, each lent to one scene at a time."""

from __future__ import annotations

import itertools
import os
import queue
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
QUERY_TIMEOUT_S = 30
GPU_ID = re.compile(r"\d+|(GPU|MIG)-.+")
"""An index, or a name as `nvidia-smi -L` lists it."""


def visible_gpus(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the ids of usable GPUs: those in CUDA_VISIBLE_DEVICES if it is set, else all.

    As CUDA does, reads that list up to the first word that is no id, such as -1 or the NoDevFiles
    of Slurm. Empty where there is no GPU, or the driver does not answer.
    """
    environ = os.environ if environ is None else environ
    if "CUDA_VISIBLE_DEVICES" in environ:
        ids = (item.strip() for item in environ["CUDA_VISIBLE_DEVICES"].split(","))
        return tuple(itertools.takewhile(GPU_ID.fullmatch, ids))
    if shutil.which(QUERY[0]) is None:
        return ()
    try:
        answer = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):  # the driver does not answer
        return ()
    return tuple(answer.stdout.split())


class GpuSlots:
    """Lends each GPU to one borrower at a time; without GPUs it lends None to any number."""

    def __init__(self, gpus: Sequence[str]) -> None:
        self._free: queue.SimpleQueue[str] | None = queue.SimpleQueue() if gpus else None
        for gpu in gpus:
            self._give_back(gpu)

    @contextmanager
    def lend(self) -> Iterator[str | None]:
        """Lend a free GPU for the duration of the `with` block.

        Raises queue.Empty when there are more borrowers than GPUs.
        """
        gpu = self._free.get_nowait() if self._free else None
        try:
            yield gpu
        finally:
            self._give_back(gpu)

    def _give_back(self, gpu: str | None) -> None:
        if self._free is not None and gpu is not None:
            self._free.put(gpu)
