"""Identify processes, and make sure that those we start end with us; Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
START_TIME_FIELD = 19  # in /proc/PID/stat, from 0 after the bracket that closes the command


@dataclass(frozen=True)
class ProcessId:
    """A process; unlike a bare number it is never mistaken for a later process."""

    host: str
    boot: str
    pid: int
    start_ticks: int

    def is_of_this_host(self) -> bool:
        """Return whether it is a process of this host, which alone can tell whether it lives."""
        return self.host == socket.gethostname()

    def lives(self) -> bool:
        """Return whether it lives on this host; zombies and processes of earlier boots don't."""
        same_boot = self.is_of_this_host() and self.boot == boot_id()
        return same_boot and start_ticks(self.pid) == self.start_ticks


def process_id(pid: int) -> ProcessId:
    """Return the identity of a process of this host."""
    return ProcessId(socket.gethostname(), boot_id(), pid, start_ticks(pid) or 0)


@cache
def boot_id() -> str:
    """Return the id of this host's current boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone or a zombie.

    Source: proc(5), /proc/PID/stat, whose second field may contain spaces and brackets.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[START_TIME_FIELD])


def program_of(pid: int) -> str:
    """Return which Python program a process runs: its module or script; empty if not known."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    program, *arguments = words.split("\0")
    if not Path(program).name.startswith("python"):
        return Path(program).name
    if arguments[:1] == ["-m"]:
        return arguments[1]
    return Path(arguments[0]).name if arguments and not arguments[0].startswith("-") else ""


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process a signal when the thread that started it ends.

    Raises OSError when prctl(2) fails.
    """
    _prctl(PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that it can end them.

    Raises OSError when prctl(2) fails.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def signal_group(leader: int, signal_number: int) -> bool:
    """Send a signal to a process group; return False when no process of it is left."""
    try:
        os.killpg(leader, signal_number)
    except ProcessLookupError:
        return False
    return True


def kill_descendants(spared: frozenset[int] = frozenset()) -> None:
    """Kill all descendants of this process but these, also those that left group or session."""
    import psutil

    found = psutil.Process().children(recursive=True)
    for process in (each for each in found if each.pid not in spared):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def kill_marked(variable: str, is_marked: Callable[[str], bool]) -> None:
    """Kill this user's processes that began with a variable of the environment that is marked.

    Children have it from their parents, also those whose parents are dead.
    """
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            value = process.environ().get(variable)
            if value is not None and is_marked(value) and process.pid != os.getpid():
                process.kill()


def reap_orphans() -> None:
    """Collect the exit statuses of ended children; for a process that waits for none itself."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def signal_name(exit_status: int) -> str:
    """Return the signal's name for a negative exit status: `SIGKILL` for -9."""
    try:
        return signal.Signals(-exit_status).name
    except ValueError:
        return f"signal {-exit_status}"


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
