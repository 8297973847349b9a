"""Find the cause of a trainer's end: one of `records.record.Cause`, and a sentence about it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from training.execution.trainer_process import TrainerEnd
from training.records.record import Cause
from training.system.exit_status import USAGE
from training.system.processes import signal_name
from training.system.scene_log import last_line, last_message, tail

OUT_OF_MEMORY_SIGNS = (
    b"CUDA out of memory",
    b"OutOfMemoryError",
    b"MemoryError",
    b"can't allocate memory",
    b"CUBLAS_STATUS_ALLOC_FAILED",
)


@dataclass(frozen=True)
class EndContext:
    """What happened around a trainer's end."""

    kernel_killed: bool = False
    """Whether the kernel killed a process of this cgroup for want of memory meanwhile."""
    cancelled: bool = False
    """Whether the plan was cancelled."""
    job_id: str = ""
    """The Slurm job that it ran in; empty outside Slurm."""
    node: str = ""
    launcher: str = "the process"
    """What had launched it."""
    scenes_on_gpu: int = 1
    """How many scenes could be on its GPU at once, itself included."""


def cause_of(
    end: TrainerEnd, missing: list[str], log: Path, context: EndContext
) -> tuple[Cause, str]:
    """Return the cause, and a sentence, from exit status, outputs, the log's end and the context.

    `missing` lists the expected outputs that are not there. A trainer that was stopped is never
    done: many exit with 0 when they are told to end, with the files of an earlier evaluation there.
    """
    if end.stopped:
        return _stopped(end, context)
    if end.exit_status == 0 and missing:
        return Cause.NO_OUTPUT, "exit status 0, but without " + ", ".join(missing)
    if end.exit_status == 0:
        return Cause.OK, ""
    cause, message = _failure(end.exit_status, log, context.kernel_killed)
    if cause is Cause.OUT_OF_MEMORY and context.scenes_on_gpu > 1:
        message += shared_note(context.scenes_on_gpu)
    return cause, message


def shared_note(scenes_on_gpu: int) -> str:
    """Return what is added to the message of a scene that ran out of memory beside others."""
    return f" (its GPU was for up to {scenes_on_gpu} scenes at once)"


def _stopped(end: TrainerEnd, context: EndContext) -> tuple[Cause, str]:
    if end.stopped == "timeout":
        return Cause.TIMEOUT, "stopped at its time limit"
    if context.cancelled:
        return Cause.CANCELLED, "stopped on request"
    if end.stopped == "orphaned":
        return Cause.WORKER_LOST, f"{context.launcher} that had launched it died"
    if context.job_id and end.stopped == "launcher":
        return Cause.WORKER_LOST, f"its flow ended (job {context.job_id} on {context.node})"
    if context.job_id:
        # Time limit, preemption or scancel: only Slurm knows, and jobs/reconcile.py asks it later.
        return Cause.WORKER_LOST, f"told to end by Slurm (job {context.job_id} on {context.node})"
    return Cause.CANCELLED, "stopped on request"


def _failure(exit_status: int, log: Path, kernel_killed: bool) -> tuple[Cause, str]:
    line = last_line(log)
    if exit_status == USAGE:
        return Cause.CONFIG, last_message(log)
    if kernel_killed and exit_status == -signal.SIGKILL:
        return Cause.OUT_OF_MEMORY, "killed by the kernel for want of memory"
    if any(sign in tail(log) for sign in OUT_OF_MEMORY_SIGNS):
        return Cause.OUT_OF_MEMORY, line
    if exit_status < 0:
        return Cause.TRAINER_ERROR, f"ended by {signal_name(exit_status)}"
    return Cause.TRAINER_ERROR, f"exit status {exit_status}: {line}"


def kernel_kills() -> int:
    """Return how many processes of this cgroup the kernel has killed for want of memory.

    Reads cgroup v2 or v1; 0 where the kernel does not say.
    """
    return sum(_oom_kills(path) for path in _memory_event_files())


def _memory_event_files() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    folders = [line.split(":", 2)[1:] for line in lines]
    return [root / path.strip("/") / "memory.events" for names, path in folders if not names] + [
        root / "memory" / path.strip("/") / "memory.oom_control"
        for names, path in folders
        if names == "memory"
    ]


def _oom_kills(path: Path) -> int:
    try:
        fields = dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("oom_kill", 0))
