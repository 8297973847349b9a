"""Which processes live, and how those we start die with us (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
START_TIME_FIELD = 19  # of /proc/PID/stat, counted after the command's closing bracket


@dataclass(frozen=True)
class ProcessId:
    """A process that can't be taken for a later one with the same number."""

    host: str
    boot: str
    pid: int
    start_ticks: int

    def is_of_this_host(self) -> bool:
        """Whether this host can tell if it lives."""
        return self.host == socket.gethostname()

    def lives(self) -> bool:
        """Whether it runs on this host now; a zombie is dead, and all before the last boot."""
        same_boot = self.is_of_this_host() and self.boot == boot_id()
        return same_boot and start_ticks(self.pid) == self.start_ticks


def process_id(pid: int) -> ProcessId:
    """The identity of a process of this host."""
    return ProcessId(socket.gethostname(), boot_id(), pid, start_ticks(pid) or 0)


@cache
def boot_id() -> str:
    """Changes with every boot of this host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie.

    Source: proc(5), /proc/PID/stat; the command may hold spaces and brackets.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[START_TIME_FIELD])


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when the thread that started it ends.

    Raises OSError where prctl(2) refuses.
    """
    _prctl(PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that it can end them."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def signal_group(leader: int, signal_number: int) -> bool:
    """Send a signal to a process group; False when none of it is left."""
    try:
        os.killpg(leader, signal_number)
    except ProcessLookupError:
        return False
    return True


def kill_descendants() -> None:
    """Kill every process below this one, also those that left their group or session."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def reap_orphans() -> None:
    """Take the exit statuses of adopted processes that have ended; for who waits for no child."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def signal_name(exit_status: int) -> str:
    """`SIGKILL` for -9."""
    try:
        return signal.Signals(-exit_status).name
    except ValueError:
        return f"signal {-exit_status}"


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
