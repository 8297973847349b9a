"""The Dask cluster of this machine: one worker process per scene that trains at a time."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from flows.adapters.dask_adapter import (
    SCHEDULER_CONFIG,
    WORKER_CONFIG,
    PromptLocalCluster,
    configured,
    temporary_security,
)


def local_cluster(workers: int, log_level: int = logging.ERROR) -> PromptLocalCluster:
    """Start a cluster of `workers` processes on this machine, each for one scene at a time.

    Everything listens on loopback and speaks TLS with keys of this cluster alone: other users of a
    login node can reach its loopback too, and whoever can talk to a Dask scheduler can run code.
    """
    with configured(SCHEDULER_CONFIG, WORKER_CONFIG), _sigint_blocked():
        return PromptLocalCluster(  # type: ignore[no-untyped-call]  # Dask's __init__
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # the memory is the trainer's, which Dask does not see
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # a port is taken even without a dashboard
            scheduler_kwargs={"dashboard": False},
            security=temporary_security(),
            silence_logs=log_level,
        )


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT in this thread, so that the cluster's threads and processes inherit that.

    A terminal's Ctrl-C reaches the whole process group; only the flow decides what it means.
    """
    resource_tracker.ensure_running()  # when it starts by itself, it unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
