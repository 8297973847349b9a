"""One trainer, from start to end: own process group, deadline, TERM then KILL, nothing left behind.

For a single-threaded process that does nothing else meanwhile (`training.execution.supervisor`): signals are
blocked and waited for, so that nothing polls and no signal is lost.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.records.claim import HEARTBEAT_EVERY_S
from training.system.processes import (
    adopt_orphans,
    die_with_parent,
    kill_descendants,
    reap_orphans,
    signal_group,
)

PARENT_DIED = signal.SIGUSR2
"""What the kernel sends when our parent ends; its own number, since at that moment the parent can
still look alive."""
ASKED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
FORWARDED = frozenset({signal.SIGUSR1})
TERM_TOGETHER_S = 0.5
"""Within so long a signal to all processes of a job has reached each of them."""
WAITED_FOR = ASKED | FORWARDED | {PARENT_DIED, signal.SIGCHLD}

LAUNCHER_ASKS = signal.SIGINT
"""Of its own too: in a Slurm job supervisor and launcher get Slurm's SIGTERM at the same time, and
what the launcher passes on must not count as a second request."""

Stopped = Literal["", "asked", "launcher", "orphaned", "timeout"]
NOT_ASKED: frozenset[Stopped] = frozenset({"orphaned", "timeout"})


@dataclass(frozen=True)
class TrainerEnd:
    """How a trainer ended: its exit status (negative: a signal), and whether we stopped it."""

    exit_status: int
    stopped: Stopped


@dataclass(frozen=True)
class Limits:
    """Seconds a trainer may run, and then has for its checkpoint."""

    time_s: float
    grace_s: float


def block_signals() -> None:
    """Hold back what `run_trainer` waits for; call before anything is started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)


def forget_forwarded() -> None:
    """Drop signals that were meant for a former trainer."""
    while signal.sigtimedwait(FORWARDED, 0):
        pass


def run_trainer(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    limits: Limits,
    heartbeat: Callable[[], None],
) -> TrainerEnd:
    """Run a trainer to its end, its output appended to `log`; `heartbeat` is called now and then.

    Raises OSError when it can't be started or the log can't be opened.
    """
    adopt_orphans()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_in_the_child,  # noqa: PLW1509 - this process has one thread
        )
    try:
        stopped = _wait(process, limits, heartbeat)
    finally:
        signal_group(process.pid, signal.SIGKILL)
        process.wait()
        kill_descendants()
        reap_orphans()
    return TrainerEnd(process.returncode, stopped)


def _in_the_child() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    die_with_parent(signal.SIGKILL)


def _wait(
    process: subprocess.Popen[bytes], limits: Limits, heartbeat: Callable[[], None]
) -> Stopped:
    """Wait for the end; at the deadline or when told to stop TERM, after the grace KILL.

    The same signal a second time means at once, as does any after the deadline or an orphaning.
    """
    heard: set[int] = set()
    deadline = time.monotonic() + limits.time_s
    stopped: Stopped = ""
    while process.poll() is None:
        left = deadline - time.monotonic()
        received = signal.sigtimedwait(WAITED_FOR, max(0.0, min(left, HEARTBEAT_EVERY_S)))
        number = received.si_signo if received else 0
        if not number:
            heartbeat()
        elif number in FORWARDED:
            os.kill(process.pid, number)
        reason = _reason_to_stop(number, overdue=time.monotonic() >= deadline)
        if reason and not stopped:
            stopped = reason
            deadline = time.monotonic() + limits.grace_s
            signal_group(process.pid, signal.SIGTERM)
        elif reason == "timeout" or number in heard or (number in ASKED and stopped in NOT_ASKED):
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
        heard |= {number} & ASKED
    return stopped or _stopped_by_others(process.returncode)


def _stopped_by_others(exit_status: int) -> Stopped:
    """Whether trainer and we were told to stop together, as Slurm does, and it was quicker."""
    patience = TERM_TOGETHER_S if exit_status == -signal.SIGTERM else 0
    return "asked" if signal.sigtimedwait(ASKED, patience) else ""


def _reason_to_stop(number: int, *, overdue: bool) -> Stopped:
    if number in ASKED:
        return "launcher" if number == LAUNCHER_ASKS else "asked"
    if number == PARENT_DIED:
        return "orphaned"
    return "timeout" if overdue else ""
