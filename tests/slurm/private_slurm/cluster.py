"""A running private cluster: what a test asks of it and does to it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from private_slurm import daemons, processes
from private_slurm.configuration import ACCOUNT, URGENT
from private_slurm.layout import Layout

DEADLINE_S = 60
CALL_S = 30
SLURM_VARIABLES = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_")
# fields of `scontrol show job` whose value is the rest of the line, spaces and all
TO_THE_END = {"JobName", "Command", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment"}


class SlurmCallError(Exception):
    """A Slurm command failed; the message is the command and Slurm's own words."""


class QueuedJob(NamedTuple):
    """A row of squeue; an array's tasks have a row each, with ids like 12_3."""

    job_id: str
    name: str
    state: str
    reason: str
    node: str
    command: str


@dataclass(frozen=True)
class Cluster:
    """The handle of a running cluster."""

    layout: Layout

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use this cluster."""
        return {"SLURM_CONF": str(self.layout.conf)}

    @property
    def nodes(self) -> list[str]:
        return list(self.layout.nodes)

    def call(self, *command: str, check: bool = True) -> str:
        """What a Slurm command prints; raises SlurmCallError if it fails and that matters."""
        outside = {k: v for k, v in os.environ.items() if not k.startswith(SLURM_VARIABLES)}
        done = subprocess.run(
            command,
            env={**outside, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CALL_S,
            check=False,
        )
        if check and done.returncode != 0:
            raise SlurmCallError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def squeue(self) -> list[QueuedJob]:
        """All jobs that have not ended, array tasks one by one."""
        fields = "\x1f".join(f"%{letter}" for letter in "ijTrNo")
        lines = self.call("squeue", "--array", "--noheader", f"--format={fields}").splitlines()
        return [QueuedJob(*line.split("\x1f")) for line in lines]

    def job(self, job_id: str) -> dict[str, str]:
        """The fields of `scontrol show job`; of an array's first task, if it is all of one."""
        return fields_of(self.call("scontrol", "show", "job", job_id).partition("\n\n")[0])

    def cancel_all(self) -> None:
        self.call("scancel", f"--user={os.getuid()}")

    def wait_empty(self, deadline_s: float = DEADLINE_S) -> None:
        """Waits until no job is queued, running or completing."""
        self.wait(lambda: not self.squeue(), "an empty queue", deadline_s)

    def wait(self, condition: Callable[[], object], what: str, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {deadline_s} s for {what}; jobs: {self.squeue()}")
            time.sleep(0.1)

    def walltime_now(self, job_id: str, left_s: int = 5) -> None:
        """Lets the job's time end now, or so soon. Slurm looks every 30 s: TIMEOUT comes by then.

        By the controller's clock: "now" is refused as a time in the past when its second is over.
        """
        self.call("scontrol", "update", f"jobid={job_id}", f"EndTime=now+{left_s}")

    def preempt(self, job_id: str) -> str:
        """Takes a running job's node with a more urgent job, which needs all of it; its id."""
        node = self.job(job_id)["NodeList"]
        where = (f"--partition={URGENT}", f"--nodelist={node}", "--exclusive", "--mem=0")
        what = ("--time=10", "--output=/dev/null", "--wrap=sleep 600")
        return self.call("sbatch", "--parsable", *where, *what).strip()

    def crash_node(self, name: str, *, jobs_survive: bool = False) -> None:
        """The node dies, and Slurm notices at once: its jobs get NODE_FAIL or are requeued.

        With `jobs_survive` only Slurm has lost it: the processes of its jobs run on.
        """
        kill = ["slurmd"] if jobs_survive else ["slurmd", "slurmstepd"]
        find = lambda: processes.daemons(self.layout, *kill, node=name)  # noqa: E731
        processes.end(find, signal.SIGKILL, DEADLINE_S)
        if not jobs_survive:
            processes.end(lambda: processes.of_jobs([name]), signal.SIGKILL, DEADLINE_S)
        self.call("scontrol", "update", f"nodename={name}", "state=down", "reason=crashed")

    def revive(self, name: str) -> None:
        """The node is back, empty and ready for jobs."""
        daemons.start_node(self.layout, name)
        self.call("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        self.wait(lambda: name in self.ready_nodes(), f"node {name}", DEADLINE_S)

    def stop_controller(self) -> None:
        """Slurm answers nobody; what runs goes on."""
        find = lambda: processes.daemons(self.layout, "slurmctld")  # noqa: E731
        processes.end(find, signal.SIGTERM, DEADLINE_S)

    def start_controller(self) -> None:
        daemons.start_controller(self.layout)
        self.wait(lambda: "UP" in self.call("scontrol", "ping", check=False), "ping", DEADLINE_S)

    def heal(self) -> None:
        """Undoes what a test did to the daemons."""
        self.start_controller()
        for name in set(self.nodes) - set(self.ready_nodes()):
            self.revive(name)

    def ready_nodes(self) -> list[str]:
        """Nodes that take jobs."""
        rows = self.call("sinfo", "--noheader", "--Node", "--format=%N %t", check=False)
        states = dict(row.split() for row in rows.splitlines())
        return [name for name, state in states.items() if state in {"idle", "mix", "alloc"}]

    def is_ready(self) -> bool:
        return sorted(self.ready_nodes()) == sorted(self.nodes)

    def register(self) -> None:
        """Accounting knows the cluster, and whose jobs it takes, before its first job."""
        manage = ("sacctmgr", "--immediate", "add")
        if not self.call("sacctmgr", "--noheader", "--parsable2", "show", "cluster", "private"):
            self.call(*manage, "cluster", "private")
            self.call(*manage, "account", ACCOUNT, "cluster=private")
            self.call(*manage, "user", "root", f"account={ACCOUNT}")


def fields_of(text: str) -> dict[str, str]:
    """Key and value of every `Key=value` in what `scontrol show job` prints of one job."""
    fields = {}
    for line in text.splitlines():
        rest = line.strip()
        while rest:
            key, _, rest = rest.partition("=")
            value, rest = (rest, "") if key in TO_THE_END else rest.partition(" ")[::2]
            fields[key] = value
            rest = rest.lstrip()
    return fields
