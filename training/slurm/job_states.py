"""Slurm's words for how a job ended, and what they mean for a scene."""

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
        "REQUEUED",  # of a former run of a job, in accounting
        "REVOKED",
        "TIMEOUT",
    }
)
"""States that a job does not leave by itself (squeue(1), JOB STATE CODES)."""
NODE_LOST = frozenset({"NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL"})
"""States after which the node may still run what it ran."""
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
"""What in a refusal tells which directive caused it, the most telling first."""
CLOCKS_DIFFER = timedelta(seconds=2)
"""Slurm's times are whole seconds, and nodes' clocks are not quite one."""
OPTION = re.compile(r"--[a-z][a-z-]+")


@dataclass(frozen=True)
class JobEnd:
    """How Slurm says that a job's last run ended."""

    job_id: str
    """As people type it: `12`, or `12_3` for an array's task."""
    state: str
    exit_code: int = 0
    signal: int = 0
    node: str = ""
    start: datetime | None = None
    end: datetime | None = None
    by_uid: int | None = None
    """Who cancelled it, where Slurm says."""

    def __str__(self) -> str:
        where = f" on {self.node}" if self.node else ""
        return f"job {self.job_id}{where} {self._how()}"

    def held(self, moment: datetime) -> bool:
        """Whether the job ran at that moment, by a clock that may be a little off."""
        if self.start is None or self.end is None:
            return False
        return self.start - CLOCKS_DIFFER <= moment <= self.end + CLOCKS_DIFFER

    def _how(self) -> str:
        if self.state == "CANCELLED":
            return "was cancelled" + (f" by user {_user(self.by_uid)}" if self._is_known() else "")
        status = f" (exit status {self.exit_code})" if self.exit_code else ""
        by_signal = f" (signal {self.signal})" if self.signal else ""
        return f"ended as {self.state}{status}{by_signal}"

    def _is_known(self) -> bool:
        return self.by_uid is not None


@dataclass(frozen=True)
class JobLocation:
    """The Slurm job that runs something, and its node; printed as `Slurm job 12 on n1`."""

    job_id: str
    node: str = ""
    """Empty while it is not known."""

    def __str__(self) -> str:
        on_node = f" on {self.node}" if self.node else ""
        return f"Slurm job {self.job_id}{on_node}"


def directive_of(words: str) -> str:
    """The sbatch option that a refusal is about, empty where Slurm's words do not tell."""
    if named := OPTION.search(words):
        return named.group()
    lower = words.lower()
    return next((option for sign, option in DIRECTIVES.items() if sign in lower), "")


def _user(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid if uid is not None else -1).pw_name
    except (KeyError, OverflowError):
        return str(uid)
