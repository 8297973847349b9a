"""Time and memory of commands."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.subject import UnavailableError

CHECKOUT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 600.0
LAST_CHARACTERS = 300


@dataclass(frozen=True)
class Cost:
    """What a command took: wall seconds; CPU seconds and peak MB, with its ended children's."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path = CHECKOUT,
    timeout_s: float = TIMEOUT_S,
) -> Cost:
    """Run a command and return its cost; raises UnavailableError with its last words on failure.

    It has a process group of its own, which ends with it after a timeout or an interruption. The
    peak is that of the process itself, or of a child that it waited for, whichever is more.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        process.returncode, usage = _wait_for(process.pid, timeout_s)
        wall_s = time.monotonic() - began
        if process.returncode != 0:
            raise UnavailableError(_failure(process.returncode, wall_s, output))
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _wait_for(pid: int, timeout_s: float) -> tuple[int, resource.struct_rusage]:
    """Wait for a process; return its exit status and usage. Kills its group after `timeout_s`."""
    timer = threading.Timer(timeout_s, _kill, [pid])
    timer.start()
    try:
        _, status, usage = os.wait4(pid, 0)
    except BaseException:
        _kill(pid)
        raise
    finally:
        timer.cancel()
    return os.waitstatus_to_exitcode(status), usage


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _failure(status: int, wall_s: float, output: IO[bytes]) -> str:
    output.seek(0)
    text = output.read().decode(errors="replace")
    return f"exit status {status} after {wall_s:.0f} s: {last_words(text)}"


def last_words(text: str) -> str:
    """Return the end of what a command has printed, on one line, without the checkout's path."""
    lines = [line.strip() for line in without_checkout(text).splitlines()]
    return " / ".join(filter(None, lines))[-LAST_CHARACTERS:]


def without_checkout(text: str) -> str:
    """Return the text without the path of the checkout, which is this machine's."""
    return text.replace(str(CHECKOUT), ".")
