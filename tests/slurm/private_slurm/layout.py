"""Where a private cluster lives: its folder, its ports, its nodes."""

from __future__ import annotations

import json
import os
import random
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

NODES = 4
SETTINGS = "private-slurm.json"
# below Linux's range for outgoing connections: a stopped daemon finds its port again
PORTS = range(10_000, 32_000)


@dataclass(frozen=True)
class Owner:
    """A process, told from a later one with the same id by its start."""

    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Owner:
        return cls(os.getpid(), start_of(os.getpid()))

    def is_alive(self) -> bool:
        return start_of(self.pid) == self.started


def start_of(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


@dataclass(frozen=True)
class Layout:
    """What a cluster was made with; kept in its folder, so that every later call agrees."""

    folder: Path
    port: int
    accounting: bool
    process_tracking: str
    host: str
    owner: Owner | None  # the cluster ends with this process; None: it stays until taken down

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def database_socket(self) -> Path:
        return self.folder / "mysql.sock"

    @property
    def accounting_port(self) -> int:
        return self.port + NODES + 1

    @property
    def nodes(self) -> dict[str, int]:
        """Each node's port."""
        # Slurm names cgroup folders after nodes: the port keeps two clusters of a host apart
        return {f"n{self.port}-{i}": self.port + i for i in range(1, NODES + 1)}

    def log(self, daemon: str) -> Path:
        return self.folder / "log" / f"{daemon}.log"

    def save(self) -> None:
        """Written before the first daemon starts: what is found half-made can be ended."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.folder / f"{SETTINGS}.new"
        new.write_text(json.dumps({**asdict(self), "folder": str(self.folder)}), encoding="utf-8")
        new.replace(self.folder / SETTINGS)


def load(folder: Path) -> Layout | None:
    """The cluster that was made in this folder."""
    try:
        kept = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    owner = Owner(**kept["owner"]) if kept["owner"] else None
    return Layout(**{**kept, "folder": folder, "owner": owner})


def new(folder: Path, *, accounting: bool, owner: Owner | None) -> Layout:
    """A layout with free ports, for a cluster that is still to be made."""
    return Layout(
        folder=folder,
        port=free_ports(NODES + 2),
        accounting=accounting,
        process_tracking=process_tracking(),
        host=socket.gethostname().partition(".")[0],
        owner=owner,
    )


def free_ports(count: int) -> int:
    """The first of `count` ports in a row on which nobody listens."""
    while True:
        first = random.choice(PORTS)
        if all(is_free(port) for port in range(first, first + count)):
            return first


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def process_tracking() -> str:
    """How Slurm finds a job's processes again.

    Only a cgroup finds all of them. Where there is none to write to, process groups, and an
    epilog that looks for what left its group.
    """
    return "cgroup" if os.access("/sys/fs/cgroup/freezer/cgroup.procs", os.W_OK) else "pgid"
