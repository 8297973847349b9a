"""One trainer from start to end: a process group of its own, a deadline, TERM then KILL.

Only for a single-threaded process that does nothing else meanwhile (a supervisor, or the process of
an array task or an aggregate): signals are blocked and waited for with sigtimedwait(2), so that
nothing polls and no signal is lost.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from training.records.claim import HEARTBEAT_EVERY_S
from training.system.exit_status import FAILED
from training.system.processes import (
    adopt_orphans,
    die_with_parent,
    kill_descendants,
    reap_orphans,
    signal_group,
)

PARENT_DIED = signal.SIGUSR2
"""What the kernel sends when our parent ends. No other signal means that, so nobody has to ask
whether the parent is alive, which it can still seem to be at that moment."""
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
FORWARDED = frozenset({signal.SIGUSR1})
TERM_TOGETHER_S = 0.5
"""A signal sent to all processes of a job has reached each of them within this time."""
REPEATED_AFTER_S = 2.0
"""SIGTERM again within this time is no second request: Slurm, srun and a script's trap may each
pass on the same one."""
WAITED_FOR = STOP_SIGNALS | FORWARDED | {PARENT_DIED, signal.SIGCHLD, signal.SIGCONT}

LAUNCHER_STOP = signal.SIGINT
"""How a launcher asks a supervisor to stop. Not SIGTERM: in a Slurm job both get Slurm's SIGTERM at
the same time, and what the launcher passes on must not count as a second request."""

Stopped = Literal["", "asked", "launcher", "orphaned", "timeout"]
UNREQUESTED: frozenset[Stopped] = frozenset({"orphaned", "timeout"})


@dataclass(frozen=True)
class TrainerEnd:
    """How a trainer ended: its exit status (negative: a signal's number), and why we stopped it."""

    exit_status: int
    stopped: Stopped
    """`asked`: by a signal; `launcher`: by our launcher; empty where it ended by itself."""


@dataclass(frozen=True)
class Limits:
    """How long a trainer may run, and how long it then has to write its checkpoint, in seconds."""

    time_s: float
    grace_s: float


def block_signals() -> None:
    """Block the signals that `run_trainer` waits for; call it before anything is started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)


def discard_forwarded_signals() -> None:
    """Drop pending signals that were meant for a previous trainer."""
    while signal.sigtimedwait(FORWARDED, 0):
        pass


class Trainer(Protocol):
    """A trainer's process, the leader of a process group of its own."""

    @property
    def exit_status(self) -> int | None:
        """None while it runs, by the last `poll` or `wait`; negative: a signal's number."""

    def poll(self) -> int | None:
        """Return the exit status if it has ended."""

    def wait(self) -> None:
        """Return when it has ended."""

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone, unless it has ended."""

    def signal_group(self, number: int) -> None:
        """Send a signal to the whole group."""


class TrainerStarts(Protocol):
    """A way of starting trainers."""

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> Trainer:
        """Start a trainer whose output goes to `log`; raises OSError where it can't be started."""

    def kept_processes(self) -> frozenset[int]:
        """Return the children of this process that are no trainer's and live on."""


class ColdTrainer:
    """A trainer that a fresh interpreter runs."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> None:
        """Start it; raises OSError where it can't be started."""
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_in_the_child,  # noqa: PLW1509 - this process has one thread
        )

    @property
    def exit_status(self) -> int | None:
        """See `Trainer.exit_status`."""
        return self._process.returncode

    def poll(self) -> int | None:
        """See `Trainer.poll`."""
        return self._process.poll()

    def wait(self) -> None:
        """See `Trainer.wait`."""
        self._process.wait()

    def send_signal(self, number: int) -> None:
        """See `Trainer.send_signal`."""
        self._process.send_signal(number)

    def signal_group(self, number: int) -> None:
        """See `Trainer.signal_group`."""
        signal_group(self._process.pid, number)


class ColdStarts:
    """Starts a fresh interpreter for each trainer."""

    start = ColdTrainer

    def kept_processes(self) -> frozenset[int]:
        """See `TrainerStarts.kept_processes`."""
        return frozenset()


def run_trainer(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    limits: Limits,
    heartbeat: Callable[[], None],
    *,
    on_end: Callable[[TrainerEnd], None] = lambda _: None,
    starts: TrainerStarts | None = None,
) -> TrainerEnd:
    """Run a trainer to its end with its output appended to `log`; return how it ended.

    Calls `heartbeat` first and every HEARTBEAT_EVERY_S; where that raises, the trainer is killed at
    once: it has no right to write any more. `on_end` is the first to know how it ended. Whatever
    the trainer started is gone when this returns or raises. Raises OSError when the trainer can't
    be started or the log can't be opened.
    """
    heartbeat()
    adopt_orphans()
    starts = starts or ColdStarts()
    with log.open("ab") as stream:
        trainer = starts.start(command, environment, stream)
        try:
            stopped = _wait(trainer, limits, heartbeat)
            end = TrainerEnd(_status_of(trainer), stopped)
            on_end(end)
        finally:
            trainer.signal_group(signal.SIGKILL)
            trainer.wait()
            kill_descendants(starts.kept_processes())
            reap_orphans()
    return end


def _in_the_child() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    die_with_parent(signal.SIGKILL)


def _wait(trainer: Trainer, limits: Limits, heartbeat: Callable[[], None]) -> Stopped:
    """Wait for the trainer's end; return why it was stopped, empty where it ended by itself.

    At the deadline or on a request it gets TERM, after the grace KILL. The same signal a second
    time means KILL at once, and so does any request after the deadline or after our parent's death.
    """
    first_received: dict[int, float] = {}
    deadline = time.monotonic() + limits.time_s
    stopped: Stopped = ""
    while trainer.poll() is None:
        left = deadline - time.monotonic()
        received = signal.sigtimedwait(WAITED_FOR, max(0.0, min(left, HEARTBEAT_EVERY_S)))
        number = received.si_signo if received else 0
        if number in {0, signal.SIGCONT}:  # we may have been suspended for long
            heartbeat()
        elif number in FORWARDED:
            trainer.send_signal(number)
        reason = _reason_to_stop(number, overdue=time.monotonic() >= deadline)
        if reason and not stopped:
            stopped = reason
            deadline = time.monotonic() + limits.grace_s
            trainer.signal_group(signal.SIGTERM)
        elif reason == "timeout" or _is_urgent(number, first_received, stopped):
            trainer.signal_group(signal.SIGKILL)
            trainer.wait()
        if number in STOP_SIGNALS:
            first_received.setdefault(number, time.monotonic())
    return stopped or _stopped_by_others(_status_of(trainer))


def _status_of(trainer: Trainer) -> int:
    """Return the exit status of a trainer that has ended; an unknown one is never success."""
    return FAILED if trainer.exit_status is None else trainer.exit_status


def _is_urgent(number: int, first_received: Mapping[int, float], stopped: Stopped) -> bool:
    """Return whether a trainer that is being stopped must end at once.

    `first_received`: when each signal came first, by `time.monotonic()`.
    """
    if number in first_received:
        again_s = time.monotonic() - first_received[number]
        return number != signal.SIGTERM or again_s > REPEATED_AFTER_S
    return number in STOP_SIGNALS and stopped in UNREQUESTED


def _stopped_by_others(exit_status: int) -> Stopped:
    """Return `asked` if the trainer ended by a signal that was sent to this process as well.

    Slurm signals all processes of a job, and the trainer may be quicker.
    """
    patience = TERM_TOGETHER_S if exit_status == -signal.SIGTERM else 0
    return "asked" if signal.sigtimedwait(STOP_SIGNALS, patience) else ""


def _reason_to_stop(number: int, *, overdue: bool) -> Stopped:
    if number in STOP_SIGNALS:
        return "launcher" if number == LAUNCHER_STOP else "asked"
    if number == PARENT_DIED:
        return "orphaned"
    return "timeout" if overdue else ""
