"""Dask clusters for the task runner."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import dask
from distributed import LocalCluster
from distributed.security import Security

SCHEDULING = {
    # A lost worker ends its task at once: whether a scene starts again is the flow's decision.
    "distributed.scheduler.allowed-failures": 0,
    # No task waits on a busy worker, or it would be blamed for that worker's death.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.http.routes": [],  # pages in clear that need no key
}
KILL_S = 1.0
WORKER = {
    # Workers wait for a trainer for hours; sampling their stacks a hundred times a second costs.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.http.routes": [],
    # Dask would hand its workers, and so the trainers, one thread and a heap that is trimmed at
    # every turn: that cost a trainer 40 % of its time. What a trainer gets is the user's to say.
    "distributed.nanny.pre-spawn-environ": {},
}


def local_cluster(
    workers: int, gpus: Sequence[str] = (), log_level: int = logging.ERROR
) -> LocalCluster:
    """A cluster of `workers` processes on this machine, each for one scene at a time.

    With `gpus`, worker i and what it starts see only GPU `gpus[i % len(gpus)]`. Everything listens
    on loopback and speaks TLS with keys of this cluster alone: other users of a login node can
    reach its loopback too, and whoever can talk to a Dask scheduler can run code.
    """
    with dask.config.set({**SCHEDULING, **WORKER}), _interrupts_held_back():
        return _PinnedCluster(
            gpus,
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # the memory is the trainer's, which Dask does not see
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # a port is taken even without a dashboard
            scheduler_kwargs={"dashboard": False},
            security=Security.temporary(),
            silence_logs=log_level,
        )


class _PinnedCluster(LocalCluster):  # type: ignore[misc]  # Dask has no types
    """A LocalCluster that pins each worker to one GPU; a restarted worker keeps its own."""

    def __init__(self, gpus: Sequence[str], n_workers: int, **settings: Any) -> None:
        super().__init__(n_workers=0, **settings)
        self._gpus = tuple(gpus)
        self.scale(n_workers)
        self.sync(self._correct_state)

    async def _close(self) -> None:
        """Kill workers that are busy sooner than after Dask's 4 s (SpecCluster's hook)."""
        await asyncio.gather(*(nanny.close(timeout=KILL_S) for nanny in self.workers.values()))
        await super()._close()

    def new_worker_spec(self) -> dict[int, dict[str, Any]]:
        """The next worker's specification (SpecCluster's hook)."""
        ((name, spec),) = super().new_worker_spec().items()
        if not self._gpus:
            return {name: spec}
        pinned = {"CUDA_VISIBLE_DEVICES": self._gpus[int(name) % len(self._gpus)]}
        return {name: {**spec, "options": {**spec["options"], "env": pinned}}}


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Have the cluster's threads, and so its worker processes, inherit a blocked SIGINT.

    A terminal's Ctrl-C reaches the whole process group; what it means is the flow's to decide.
    """
    resource_tracker.ensure_running()  # when it starts by itself, it unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
