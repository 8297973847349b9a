"""The states of Slurm's jobs, how a job ended, and which option a refusal is about."""

from __future__ import annotations

import pwd
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REQUEUED",  # in accounting, of an earlier run of a requeued job
        "REVOKED",
        "TIMEOUT",
    }
)
"""States of a job whose run is over (squeue(1), JOB STATE CODES)."""
ENDED_OR_COMPLETING = ENDED | {"COMPLETING"}
"""Also the state in which a job has ended while Slurm is still cleaning up its nodes."""
NODE_LOST = frozenset({"NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL"})
"""States after which the node, out of Slurm's reach, may still run the job's processes."""
DIRECTIVES = {
    "invalid partition": "--partition",
    "invalid account": "--account",
    "qos": "--qos",
    "account": "--account",
    "partition": "--partition",
    "generic resource": "--gres",
    "time limit": "--time",
    "memory": "--mem",
    "feature": "--constraint",
    "node name": "--nodelist",
    "array": "--array",
    "dependency": "--dependency",
    "reservation": "--reservation",
    "license": "--licenses",
    "node count": "--nodes",
    "cpu count": "--cpus-per-task",
    "node configuration": "--cpus-per-task, --mem, --gres, --nodes: no node has all of it",
}
"""By a part of a refusal's message: the directive that it is about. The first match counts."""
CLOCK_TOLERANCE = timedelta(seconds=2)
"""Slurm's times are whole seconds, and the clocks of nodes differ a little."""
CLOCKS_DIFFER = timedelta(minutes=5)
"""The clocks of two machines of a cluster differ by less, or munge would refuse their messages."""
OPTION = re.compile(r"--[a-z][a-z-]+")


@dataclass(frozen=True)
class JobEnd:
    """How one run of a job ended; a requeued job has several runs."""

    job_id: str
    """As users type it: `12`, or `12_3` for a task of an array."""
    state: str
    exit_code: int = 0
    signal: int = 0
    node: str = ""
    start: datetime | None = None
    end: datetime | None = None
    by_uid: int | None = None
    """The user who cancelled it, where Slurm tells."""

    def __str__(self) -> str:
        where = f" on {self.node}" if self.node else ""
        return f"job {self.job_id}{where} {self._how()}"

    def covers(self, moment: datetime) -> bool:
        """Return whether the run was under way at that moment, allowing for clocks that differ."""
        if self.start is None or self.end is None:
            return False
        return self.start - CLOCK_TOLERANCE <= moment <= self.end + CLOCK_TOLERANCE

    def may_cover(self, moment: datetime) -> bool:
        """Return whether the run may have been under way at that moment of another machine's clock.

        False of a job that has the same id, which Slurm gave out before or after.
        """
        is_later = self.start is not None and self.start - CLOCKS_DIFFER > moment
        is_earlier = self.end is not None and self.end + CLOCKS_DIFFER < moment
        return not (is_later or is_earlier)

    def _how(self) -> str:
        if self.state == "CANCELLED":
            return "was cancelled" + (
                "" if self.by_uid is None else f" by user {_user(self.by_uid)}"
            )
        status = f" (exit status {self.exit_code})" if self.exit_code else ""
        by_signal = f" (signal {self.signal})" if self.signal else ""
        return f"ended as {self.state}{status}{by_signal}"


@dataclass(frozen=True)
class JobLocation:
    """The Slurm job that runs something, and its node; printed as `Slurm job 12 on n1`."""

    job_id: str
    node: str = ""
    """Empty while it is not known."""

    def __str__(self) -> str:
        on_node = f" on {self.node}" if self.node else ""
        return f"Slurm job {self.job_id}{on_node}"


def directive_of(message: str) -> str:
    """Return the sbatch option that a refusal is about; empty where its message does not tell."""
    if named := OPTION.search(message):
        return named.group()
    lower = message.lower()
    return next((option for sign, option in DIRECTIVES.items() if sign in lower), "")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)
