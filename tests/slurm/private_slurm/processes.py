"""The processes of a private cluster, found by what they carry, not by kept process ids."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from private_slurm.configuration import CGROUPS
from private_slurm.layout import Layout

DAEMONS = {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd"}
NODE_MARK = "TS_PRIVATE_SLURM_NODE"  # a slurmd's own; its slurmstepds inherit it


@dataclass(frozen=True)
class Process:
    """A running process: its program's name and the environment that it was started with."""

    pid: int
    name: str
    environment: dict[str, str]


def running() -> Iterator[Process]:
    """Every process of this host but this one; the dead that nobody has waited for are none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                environ = (entry / "environ").read_bytes().decode(errors="replace")
                if environ:  # kernel threads and zombies have none
                    pairs = (item.partition("=")[::2] for item in environ.split("\0"))
                    name = (entry / "comm").read_text().strip()
                    yield Process(int(entry.name), name, dict(pairs))


def daemons(layout: Layout, *names: str, node: str = "") -> list[int]:
    """Process ids of the cluster's daemons, of these names, of this node."""
    return [
        process.pid
        for process in running()
        if process.name in (names or DAEMONS)
        and process.environment.get("SLURM_CONF") == str(layout.conf)
        and (not node or process.environment.get(NODE_MARK) == node)
    ]


def of_jobs(nodes: Iterable[str], job_id: str = "") -> list[int]:
    """Process ids of what jobs run on these nodes, whatever session and parent they have.

    With a job's id only what carries it, else also what the nodes' cgroups hold.
    """
    nodes = set(nodes)
    held = set() if job_id else in_cgroups(nodes)
    return [
        process.pid
        for process in running()
        if process.name not in DAEMONS
        and (process.pid in held or carries(process.environment, nodes, job_id))
    ]


def carries(environment: dict[str, str], nodes: set[str], job_id: str) -> bool:
    """Whether a process was started by a job on one of the nodes, but not as its epilog."""
    return (
        environment.get("SLURMD_NODENAME") in nodes
        and job_id in {"", environment.get("SLURM_JOB_ID")}
        and "SLURM_SCRIPT_CONTEXT" not in environment
    )


def cgroups(nodes: Iterable[str]) -> list[Path]:
    """The nodes' cgroup folders, the innermost first."""
    tops = [top for node in nodes for top in CGROUPS.glob(f"*/slurm_{node}")]
    return [Path(found) for top in tops for found, _, _ in os.walk(top, topdown=False)]


def in_cgroups(nodes: Iterable[str]) -> set[int]:
    found: set[int] = set()
    for folder in cgroups(nodes):
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
    return found


def end(find: Callable[[], list[int]], sign: signal.Signals, deadline_s: float) -> bool:
    """Signals what is found, again and again, until nothing is; False if the deadline came first.

    TERM is sent once to each, KILL as often as it is found.
    """
    told: set[int] = set()
    end_at = time.monotonic() + deadline_s
    while pids := find():
        for pid in pids:
            if sign == signal.SIGKILL or pid not in told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
                told.add(pid)
        if time.monotonic() > end_at:
            return False
        time.sleep(0.02)
    return True
