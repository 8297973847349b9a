"""The faults and the ways of running scenes: the rows and the columns of docs/reliability.md."""

from __future__ import annotations

WAYS = {
    "launcher": "launcher",
    "local_flow": "local flow",
    "slurm_flow": "Slurm flow",
    "slurm_array": "Slurm array",
}
"""Names in markers, and what the page calls them."""

ENDS = {
    "completed": "exit status 0; Prefect's state Completed; the array's job COMPLETED",
    "failed": "exit status 1; Failed; the job FAILED",
    "cancelled": "exit status 130; Cancelled; the job CANCELLED",
    "refused": "exit status 2 before anything has started",
    "killed": "it can say nothing: its records do",
    "held": "exit status 1: another run has the scene, and is named",
}
"""How a run ends, by the launcher, the flow, the array; or what it says of the one scene."""

FAULTS = {
    "The trainer": (
        "the trainer raises",
        "the trainer ends with 0 and has written nothing",
        "the trainer is killed for memory",
        "the trainer hangs",
        "the trainer ignores TERM",
        "the trainer fills the disk",
        "the trainer leaves a truncated checkpoint",
        "the trainer leaves a checkpoint of random bytes",
        "the trainer prints 200 MB",
        "the trainer leaves a process in a session of its own",
    ),
    "Processes of ours": (
        "the supervisor is killed",
        "the supervisor is killed after the trainer has ended well",
        "the supervisor is frozen and thawed, its scene taken over meanwhile",
        "the Dask worker is killed",
        "the Dask worker is frozen for minutes",
    ),
    "Jobs and nodes": (
        "the job is cancelled by a person",
        "the job is requeued",
        "the job is held in the queue",
        "the job is preempted",
        "the job is out of walltime",
        "the job is suspended and resumed",
        "the node is lost",
        "the node is lost to Slurm alone, and trains on",
        "the node is drained",
        "the node fails every job within a second",
    ),
    "Slurm": (
        "the controller is down for a minute",
        "the controller is down for three minutes",
        "accounting is down",
        "sbatch fails",
        "sbatch hangs",
        "sbatch prints garbage",
        "sbatch submits and answers too late",
        "squeue fails",
        "squeue hangs",
        "squeue prints garbage",
        "sacct fails",
        "sacct hangs",
        "sacct prints garbage",
        "scontrol fails",
        "scontrol hangs",
        "scontrol prints garbage",
    ),
    "The launcher or flow": (
        "Ctrl-C once",
        "Ctrl-C twice",
        "Ctrl-C three times",
        "TERM",
        "HUP",
        "kill -9 while it plans",
        "kill -9 before the first scene",
        "kill -9 while scenes train",
        "kill -9 between two scenes",
        "kill -9 in the aggregate",
        "the host is rebooted, and the process id given out again",
        "the run is cancelled in Prefect's UI",
    ),
    "Prefect's server": (
        "the server is killed",
        "the database is gone",
        "the database is locked",
        "the database is full",
        "the password is wrong",
    ),
    "Files": (
        "the result root becomes read-only",
        "a listing lags, as on NFS",
        "two flows have one experiment",
        "a flow and an array have one experiment",
        "a launcher has the experiment, too",
        "the clock goes an hour back",
        "the clock goes an hour forward",
        "a record is truncated",
        "a record is empty",
        "a record is of a newer version",
        "a record belongs to another owner",
        "results are deleted while scenes train",
        "the plan is deleted while scenes train",
    ),
}
"""By the heading of the page that they stand under."""

NOT_APPLICABLE: dict[tuple[str, str], str] = {
    ("the Dask worker is killed", "launcher"): "has no Dask worker",
    ("the Dask worker is killed", "slurm_array"): "has no Dask worker",
    ("the Dask worker is frozen for minutes", "launcher"): "has no Dask worker",
    ("the Dask worker is frozen for minutes", "slurm_array"): "has no Dask worker",
}
"""(fault, way): why there can be no such cell."""
for _section in ("Jobs and nodes", "Slurm"):
    for _fault in FAULTS[_section]:
        for _way in ("launcher", "local_flow"):
            NOT_APPLICABLE[_fault, _way] = "asks nothing of Slurm"
for _fault in FAULTS["Prefect's server"]:
    for _way in ("launcher", "slurm_array"):
        NOT_APPLICABLE[_fault, _way] = "needs no Prefect server"
for _way in ("launcher", "slurm_array"):
    NOT_APPLICABLE["the run is cancelled in Prefect's UI", _way] = "is not in Prefect's UI"

for _fault in ("Ctrl-C once", "Ctrl-C twice", "Ctrl-C three times", "TERM", "HUP"):
    NOT_APPLICABLE[_fault, "slurm_array"] = "has no process at the terminal once it is submitted"
for _fault in (
    "kill -9 while scenes train",
    "kill -9 between two scenes",
    "kill -9 in the aggregate",
):
    NOT_APPLICABLE[_fault, "slurm_array"] = "has no launcher any more by then"
for _way in ("launcher", "slurm_array"):
    NOT_APPLICABLE["two flows have one experiment", _way] = "is no flow"
NOT_APPLICABLE["a flow and an array have one experiment", "launcher"] = "is neither"

ALL_FAULTS = frozenset(fault for faults in FAULTS.values() for fault in faults)
