"""The Slurm job that this process is part of, by the names that people type."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def own_job_id(environ: Mapping[str, str] = os.environ) -> str:
    """`12`, or `12_3` for an array's task; empty outside of Slurm."""
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID", "")


def is_started_again(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is not the first run of its job: Slurm has queued it again."""
    return environ.get("SLURM_RESTART_COUNT", "0") != "0"


def node_name(environ: Mapping[str, str] = os.environ) -> str:
    """Slurm's name of this machine, else the machine's own."""
    return environ.get("SLURMD_NODENAME") or socket.gethostname()
