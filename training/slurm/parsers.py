"""Parse the output of Slurm's commands into plain data; pure functions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from training.slurm.job_states import ENDED, ENDED_OR_COMPLETING, JobEnd

SEPARATOR = "\x1f"
"""Between fields: a character that no job name or path contains."""
QUEUE_FIELDS = (
    "JobArrayID",
    "JobID",
    "ArrayJobID",
    "ArrayTaskID",
    "Name",
    "State",
    "Reason",
    "NodeList",
    "TimeUsed",
    "TimeLeft",
    "exit_code",
    "StartTime",
    "EndTime",
    "Command",
)
QUEUE_FORMAT = ",".join(f"{field}:{SEPARATOR}" for field in QUEUE_FIELDS)
"""Value of squeue's --Format."""
HEAD_OF_STATES = "STATE"
"""What squeue writes above the states of jobs."""
ACCOUNT_FIELDS = ("JobID", "State", "ExitCode", "NodeList", "Start", "End")
"""Fields of sacct's --format."""
NUMBER = re.compile(r"\d{1,18}", re.ASCII)
CLOCK = re.compile(r"(?:(?P<days>\d{1,9})-)?(?P<clock>\d{1,9}(?::\d{1,9}){1,2})", re.ASCII)
FIRST_YEAR, LAST_YEAR = 1970, 9999
"""No job of Slurm's ran before or after: what lies near the ends of `datetime` overflows."""
FIELD = re.compile(r"(\w+)=(\S*)")
"""A field of a job, in the job completion text and in what scontrol shows."""


@dataclass(frozen=True)
class QueuedJob:
    """A job of this user as squeue shows it; each task of an array is a job of its own."""

    job_id: str
    """As users type it: `12`, or `12_3` for a task of an array."""
    raw_id: str
    array_job_id: str
    array_task_id: int | None
    name: str
    state: str
    reason: str
    node: str
    elapsed_s: int | None
    time_left_s: int | None
    command: str
    """Script and arguments, separated by spaces."""
    start: datetime | None = None
    """Of its present run; of one that waits, Slurm's guess."""

    @property
    def is_pending(self) -> bool:
        """Whether it waits for its start."""
        return self.state == "PENDING"

    @property
    def can_never_start(self) -> bool:
        """Whether it waits for what can't happen any more; Slurm leaves such a job in its queue."""
        return self.is_pending and self.reason == "DependencyNeverSatisfied"

    @property
    def is_over(self) -> bool:
        """Whether it has ended, even if Slurm is still cleaning up its nodes."""
        return self.state in ENDED_OR_COMPLETING


def is_queue(text: str) -> bool:
    """Return whether this may be squeue's output: its head or a job is in it, or it is empty."""
    return not text.strip() or any(True for _ in _lines(text))


def queued_jobs(text: str) -> list[QueuedJob]:
    """Return the jobs in squeue's output that have not ended; skip lines that are no job."""
    return [_queued(row) for row in _rows(text) if row["State"] not in ENDED]


def all_jobs(text: str) -> list[QueuedJob]:
    """Return the jobs in squeue's output, ended ones included; skip lines that are no job."""
    return [_queued(row) for row in _rows(text)]


def queue_ends(text: str) -> dict[str, JobEnd]:
    """Return, by job id, how the ended jobs in squeue's output (--states=all) ended."""
    return {
        row["JobArrayID"]: JobEnd(
            job_id=row["JobArrayID"],
            state=row["State"],
            exit_code=_number(row["exit_code"]) >> 8,
            signal=_number(row["exit_code"]) & 127,
            node=_node(row["NodeList"]),
            start=_moment(row["StartTime"]),
            end=_moment(row["EndTime"]),
        )
        for row in _rows(text)
        if row["State"] in ENDED
    }


def job_fields(text: str) -> dict[str, str]:
    """Return the fields of a job in what `scontrol show job` prints; values have no spaces."""
    return dict(FIELD.findall(text))


def account_runs(text: str) -> list[JobEnd]:
    """Return the runs of jobs in sacct's output (--parsable2 --duplicates), in order of time.

    The state of a run that goes on is none of ENDED; a requeued job has several runs.
    """
    rows = (line.split("|") for line in text.splitlines())
    return [
        _account_end(dict(zip(ACCOUNT_FIELDS, values, strict=True)))
        for values in rows
        if len(values) == len(ACCOUNT_FIELDS)
    ]


def completion_runs(lines: Iterable[str]) -> list[JobEnd]:
    """Return the runs of jobs in Slurm's job completion text, in order of time.

    Format: `key=value` pairs, one job per line (slurm.conf(5), JobCompType=jobcomp/filetxt).
    `sacct -c` reads the same file, but garbles names with spaces and omits the tasks of arrays.
    """
    found = (dict(FIELD.findall(line)) for line in lines)
    return [_completion_end(each) for each in found if "JobId" in each and "JobState" in each]


def last_ends(
    runs: Iterable[JobEnd], moments: Mapping[str, datetime] = MappingProxyType({})
) -> dict[str, JobEnd]:
    """Return, by job id, the end of the last run that had a node; skip jobs that are not over.

    Of a job that `moments` names, only runs that may have been under way then: Slurm gives ids out
    again after its controller has lost its state.
    """
    ends: dict[str, JobEnd] = {}
    for run in runs:
        if run.job_id not in moments or run.may_cover(moments[run.job_id]):
            _take_newer(ends, run)
    return {job_id: end for job_id, end in ends.items() if end.state in ENDED}


def run_at(runs: Iterable[JobEnd], job_id: str, moment: datetime) -> JobEnd | None:
    """Return the ended run of a job that was under way at a moment; None if it is not known."""
    ended = (run for run in runs if run.job_id == job_id and run.state in ENDED)
    return next((run for run in ended if run.covers(moment)), None)


def configuration(text: str) -> dict[str, str]:
    """Return the keys and values in the output of `scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def seconds_of_clock(text: str) -> int | None:
    """Return the seconds of `3:07`, `1:00:00` or `2-00:00:00`; None for a word as `UNLIMITED`."""
    match = CLOCK.fullmatch(text)
    if match is None:
        return None
    seconds = 0
    for part in match["clock"].split(":"):
        seconds = seconds * 60 + int(part)
    return int(match["days"] or 0) * 86400 + seconds


def whole_number(text: str) -> int | None:
    """Return a number as Slurm writes it; None for any other text."""
    return int(text) if NUMBER.fullmatch(text) else None


def _rows(text: str) -> Iterator[dict[str, str]]:
    return (row for row in _lines(text) if row["State"] != HEAD_OF_STATES)


def _lines(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        values = line.split(SEPARATOR)[:-1]
        if len(values) == len(QUEUE_FIELDS):
            yield dict(zip(QUEUE_FIELDS, values, strict=True))


def _queued(row: dict[str, str]) -> QueuedJob:
    return QueuedJob(
        job_id=row["JobArrayID"],
        raw_id=row["JobID"],
        array_job_id=row["ArrayJobID"],
        array_task_id=whole_number(row["ArrayTaskID"]),
        name=row["Name"],
        state=row["State"],
        reason=row["Reason"],
        node=_node(row["NodeList"]),
        elapsed_s=seconds_of_clock(row["TimeUsed"]),
        time_left_s=seconds_of_clock(row["TimeLeft"]),
        command=row["Command"],
        start=_moment(row["StartTime"]),
    )


def _account_end(row: dict[str, str]) -> JobEnd:
    state, _, by = row["State"].partition(" by ")
    status, _, number = row["ExitCode"].partition(":")
    return JobEnd(
        job_id=row["JobID"],
        state=state.split(" ")[0].rstrip("+"),
        exit_code=_number(status),
        signal=_number(number),
        node=_node(row["NodeList"]),
        start=_moment(row["Start"]),
        end=_moment(row["End"]),
        by_uid=whole_number(by),
    )


def _completion_end(values: dict[str, str]) -> JobEnd:
    array = values.get("ArrayJobId")
    status, _, number = values.get("ExitCode", "").partition(":")
    return JobEnd(
        job_id=f"{array}_{values.get('ArrayTaskId')}" if array else values["JobId"],
        state=values["JobState"],
        exit_code=_number(status),
        signal=_number(number),
        node=_node(values.get("NodeList", "")),
        start=_moment(values.get("StartTime", "")),
        end=_moment(values.get("EndTime", "")),
    )


def _take_newer(ends: dict[str, JobEnd], end: JobEnd) -> None:
    """Keep the newer run, unless it was cancelled before it got a node, which says nothing."""
    if end.job_id not in ends or end.node or end.state not in ENDED:
        ends[end.job_id] = end


def _node(text: str) -> str:
    return "" if text in {"(null)", "None assigned", "N/A"} else text


def _number(text: str) -> int:
    return whole_number(text) or 0


def _moment(text: str) -> datetime | None:
    """Return a time of Slurm's, which is local, with this host's zone; None for no time."""
    with contextlib.suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text).astimezone()
        return moment if FIRST_YEAR <= moment.year < LAST_YEAR else None
    return None
