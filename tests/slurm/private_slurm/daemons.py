"""Starting each daemon of a private cluster, and waiting until it answers."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from private_slurm import processes, requirements
from private_slurm.configuration import GPUS, files
from private_slurm.layout import Layout

START_S = 30


class SetupError(Exception):
    """A cluster could not be brought up; the message says which part, and its own words."""


def write_files(layout: Layout) -> None:
    """Folders, configuration, munge's key and the fake GPUs."""
    for name in ("munge", "controller", "spool", "log", "pid", "gpu"):
        (layout.folder / name).mkdir(exist_ok=True)
    for name, text in files(layout).items():
        path = layout.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700 if name == "epilog" else 0o600)  # slurmdbd refuses a readable one
    key = layout.folder / "munge" / "key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
    for i in range(GPUS):
        # Slurm sets CUDA_VISIBLE_DEVICES only for a device: like /dev/null, character 1 3
        gpu = layout.folder / "gpu" / f"nvidia{i}"
        if not gpu.exists():
            os.mknod(gpu, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def start_munge(layout: Layout) -> None:
    """The socket is in a folder of root's alone, which munged takes for a mistake: --force."""
    if not processes.daemons(layout, "munged"):
        folder = layout.folder / "munge"
        files_of = [f"--{name}-file={folder / name}" for name in ("key", "pid", "seed", "log")]
        start(layout, ["munged", "--force", f"--socket={folder / 'socket'}", *files_of])


def start_accounting(layout: Layout) -> None:
    """MariaDB on a socket of its own, then slurmdbd."""
    data = [f"--datadir={layout.folder / 'mysql'}", "--user=root"]
    if not (layout.folder / "mysql" / "mysql").exists():
        start(layout, ["mariadb-install-db", "--no-defaults", "--skip-test-db", *data])
    if not processes.daemons(layout, "mariadbd"):
        log = f"--log-error={layout.log('mariadbd')}"
        own = [f"--socket={layout.database_socket}", f"--pid-file={layout.folder / 'pid/mariadbd'}"]
        # what slurmdbd asks of its database
        sizes = ["--innodb-buffer-pool-size=128M", "--innodb-lock-wait-timeout=900"]
        quick = ["--innodb-log-file-size=64M", "--innodb-flush-log-at-trx-commit=0"]
        server = ["mariadbd", "--no-defaults", "--skip-networking", *data, *own, log]
        start(layout, ["setsid", "--fork", *server, *sizes, *quick])
    wait_for(layout, "mariadbd", lambda: answers(layout.database_socket))
    if not processes.daemons(layout, "slurmdbd"):
        start(layout, ["slurmdbd"])
    wait_for(layout, "slurmdbd", lambda: answers(layout.accounting_port))


def start_controller(layout: Layout) -> None:
    if not processes.daemons(layout, "slurmctld"):
        start(layout, ["slurmctld"])
    wait_for(layout, "slurmctld", lambda: answers(layout.port))


def start_node(layout: Layout, name: str) -> None:
    if not processes.daemons(layout, "slurmd", node=name):
        (layout.folder / "spool" / name).mkdir(exist_ok=True)
        start(layout, ["slurmd", "-N", name], {processes.NODE_MARK: name})


def start(layout: Layout, command: list[str], more: dict[str, str] | None = None) -> None:
    """Runs a program that goes to the background by itself, in an environment of its own."""
    environment = {
        "PATH": requirements.PATH,
        "LANG": "C.UTF-8",
        "SLURM_CONF": str(layout.conf),  # also the mark by which processes.py finds it
        "MYSQL_UNIX_PORT": str(layout.database_socket),
        **(more or {}),
    }
    log = layout.log("start")
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command,
            env=environment,
            cwd=layout.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=START_S * 2,
            check=False,
        )
    if done.returncode != 0:
        raise failure(layout, command[0], log)


def answers(address: int | Path) -> bool:
    """Whether somebody takes connections at a port of this host, or at a socket's path."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as probe:
        place = ("127.0.0.1", address) if isinstance(address, int) else str(address)
        return probe.connect_ex(place) == 0


def wait_for(layout: Layout, what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > end:
            raise failure(layout, what, layout.log(what))
        time.sleep(0.02)


def failure(layout: Layout, what: str, log: Path) -> SetupError:
    """The error with the last words of the log."""
    words = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    last = "\n".join(words.splitlines()[-5:])
    return SetupError(f"{what} of the private Slurm in {layout.folder} did not start:\n{last}")
