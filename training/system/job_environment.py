"""Read from environment variables which Slurm job this process runs in."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def own_job_id(environ: Mapping[str, str] = os.environ) -> str:
    """Return the id of this process's Slurm job: `12`, `12_3` for an array task; else empty."""
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID", "")


def restarts(environ: Mapping[str, str] = os.environ) -> int:
    """Return how often Slurm has requeued this job; 0 in its first run, and outside of Slurm."""
    return int(environ.get("SLURM_RESTART_COUNT") or 0)


def is_started_again(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether Slurm has requeued this job, so that this is not its first run."""
    return restarts(environ) > 0


def node_name(environ: Mapping[str, str] = os.environ) -> str:
    """Return Slurm's name for this machine; outside Slurm the host name."""
    return environ.get("SLURMD_NODENAME") or socket.gethostname()
