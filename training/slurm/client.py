"""All calls of Slurm's commands: argv lists, a time limit each, and errors in Slurm's own words."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from training.slurm import parsers
from training.slurm.job_states import JobEnd, directive_of
from training.slurm.parsers import QueuedJob

__all__ = ["QueuedJob"]  # beside what is defined here

TIMEOUT_S = 60.0
"""For one command; Slurm's own give up on a controller that is away after 9 to 20 s."""
SUBMIT_ATTEMPTS = 7
SUBMIT_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0
COMPLETION_TAIL = 2**23
"""Bytes of the job completion text that are looked at, from its end."""
LEFT_OUT = re.compile(r"(SLURM|SBATCH|SQUEUE|SACCT|SCANCEL|SINFO|PREFECT)_")
AWAY_SIGNS = (
    "unable to contact slurm controller",
    "socket timed out",
    "connection refused",
    "communication connection failure",
    "zero bytes were transmitted",
    "standby mode",
    "resource temporarily unavailable",
    "connection reset",
    "unexpected message received",
    "problem talking to the database",
)
ABSENT_SIGNS = ("configuration source", "unable to process configuration file", "cannot stat file")
PREFIX = re.compile(r"^(\w+: )?(error: )?")
GONE_SIGNS = ("invalid job id", "already completing", "already completed")


class SlurmError(Exception):
    """A Slurm command failed; the message says which, and Slurm's words."""


class SlurmAwayError(SlurmError):
    """Slurm does not answer now; asking again later may help."""


class SlurmAbsentError(SlurmError):
    """This machine has no Slurm, or none that is set up."""


class SlurmRefusedError(SlurmError):
    """Slurm will not take a job like this."""

    def __init__(self, words: str) -> None:
        self.words = words
        """Slurm's own."""
        self.directive = directive_of(words)
        """The sbatch option that it is about, empty where the words do not tell."""
        cause = f" (see {self.directive})" if self.directive else ""
        super().__init__(f"Slurm refuses the job: {'; '.join(words.splitlines())}{cause}")


def is_installed() -> bool:
    """Whether this machine has Slurm's commands."""
    return shutil.which("squeue", path=environment()["PATH"]) is not None


def environment() -> dict[str, str]:
    """What Slurm's commands, and so jobs, get: ours without what would change their meaning.

    `SLURM_CONF` stays; this interpreter's folder comes first on the path.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if key == "SLURM_CONF" or not LEFT_OUT.match(key)
    }
    own, path = str(Path(sys.executable).parent), kept.get("PATH", os.defpath)
    return kept | {"PATH": path if path.startswith(own + ":") else f"{own}:{path}"}


def submit(
    command: Sequence[str], attempts: int = SUBMIT_ATTEMPTS, pause_s: float = SUBMIT_PAUSE_S
) -> str:
    """Submit a job by its `sbatch --parsable …` command line; returns its id.

    Where no answer comes, the job may have been taken all the same: it is looked up by its name,
    script (absolute) and arguments, which therefore differ from those of every other job, before
    it is submitted again. Raises SlurmRefusedError, or SlurmAwayError after `attempts`.
    """
    unsure = False
    for attempt in range(attempts):
        try:
            job_id = _look_up(command) if unsure else None
            unsure = True
            return job_id or _job_id(_call(command))
        except SlurmAwayError as error:
            away = error
        except SlurmAbsentError:
            raise
        except SlurmError as error:
            raise SlurmRefusedError(_words_of(error)) from error
        if attempt < attempts - 1:
            time.sleep(min(pause_s * 2**attempt, LONGEST_PAUSE_S))
    raise away


def test_only(command: Sequence[str]) -> None:
    """Ask whether Slurm would take this `sbatch …` command line; raises SlurmRefusedError."""
    try:
        _call([command[0], "--test-only", *command[1:]])
    except (SlurmAwayError, SlurmAbsentError):
        raise
    except SlurmError as error:
        raise SlurmRefusedError(_words_of(error)) from error


def my_jobs() -> list[QueuedJob]:
    """My jobs that have not ended, an array's tasks one by one; one query."""
    return parsers.queued_jobs(_squeue())


def cancel(job_ids: Collection[str]) -> None:
    """Cancel jobs, arrays or single tasks (`12_3`) in one request; ended ones are no error."""
    if not job_ids:
        return
    try:
        _call(["scancel", *sorted(job_ids)])
    except (SlurmAwayError, SlurmAbsentError):
        raise
    except SlurmError as error:
        if not all(_is_about_the_gone(line) for line in _words_of(error).splitlines()):
            raise


def requeue(job_id: str) -> None:
    """Have Slurm start a job again; its present run is ended."""
    _call(["scontrol", "requeue", job_id])


def job_ends(job_ids: Collection[str]) -> dict[str, JobEnd]:
    """How jobs ended, by id, for those of which Slurm knows it already; one query for all, or two.

    From accounting where there is some, else from job completion text; what is missing there from
    the controller, which forgets after a few minutes. A job that is not in the answer may run, be
    queued, or be unknown; so is every one where Slurm does not answer.
    """
    wanted, ends = set(job_ids), dict[str, JobEnd]()
    with contextlib.suppress(SlurmError):
        if wanted and _has_accounting():
            ends = parsers.last_ends(_account_runs(wanted))
    with contextlib.suppress(SlurmError):
        if not wanted <= ends.keys():
            # A job that was started again has an end in the text while it runs: the queue decides.
            queue = _squeue("--states=all")
            living = {job.job_id for job in parsers.queued_jobs(queue)}
            told = parsers.queue_ends(queue) | parsers.last_ends(_completed_runs())
            ends = {job_id: end for job_id, end in told.items() if job_id not in living} | ends
    return {job_id: end for job_id, end in ends.items() if job_id in wanted}


def former_run(job_id: str, moment: datetime) -> JobEnd | None:
    """How that run of a job ended that was under way at `moment`; the job may run again since.

    None where neither accounting nor job completion text tells, or can be asked from here.
    """
    runs: list[JobEnd] = []
    with contextlib.suppress(SlurmError):
        runs = _account_runs({job_id}) if _has_accounting() else _completed_runs()
    return parsers.run_at(runs, job_id, moment)


def a_node_address() -> str | None:
    """The address by which Slurm reaches some compute node; None when it names none."""
    addresses = _call(["sinfo", "--Node", "--noheader", "--format=%o"]).split()
    return addresses[0] if addresses else None


def max_array_size() -> int:
    """The site's MaxArraySize: array indices are below it."""
    return int(_configuration().get("MaxArraySize", "1001"))


def _has_accounting() -> bool:
    return _configuration().get("AccountingStorageType", "").endswith("slurmdbd")


def _completed_runs() -> list[JobEnd]:
    """What the job completion text has, where there is one; no query."""
    site = _configuration()
    if site.get("JobCompType", "") != "jobcomp/filetxt":
        return []
    try:
        with Path(site.get("JobCompLoc", "")).open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - COMPLETION_TAIL))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return parsers.completion_runs(text.splitlines())


def _account_runs(job_ids: set[str]) -> list[JobEnd]:
    whole_jobs = ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))
    command = ["sacct", "--duplicates", "--allocations", "--parsable2", "--noheader"]
    command += [f"--jobs={whole_jobs}", "--format=" + ",".join(parsers.ACCOUNT_FIELDS)]
    return parsers.account_runs(_call(command))


def _look_up(command: Sequence[str]) -> str | None:
    """The id of the job that this command line has made, ended or not; None when there is none."""
    name = next((word[11:] for word in command if word.startswith("--job-name=")), "")
    line = " ".join(command)
    for job in parsers.all_jobs(_squeue("--states=all")):
        if job.name == name and job.command and line.endswith(f" {job.command}"):
            return job.array_job_id
    return None


def _squeue(*more: str) -> str:
    return _call(
        ["squeue", "--me", "--array", "--noheader", f"--Format={parsers.QUEUE_FORMAT}", *more]
    )


def _configuration() -> dict[str, str]:
    return _site(os.environ.get("SLURM_CONF", ""))


@cache
def _site(_slurm_conf: str) -> dict[str, str]:
    return parsers.configuration(_call(["scontrol", "show", "config"]))


def _job_id(answer: str) -> str:
    """`12` of `12` or of `12;cluster`."""
    job_id = answer.strip().splitlines()[-1].partition(";")[0] if answer.strip() else ""
    if not job_id.isdecimal():
        raise SlurmAwayError(f"sbatch: no job id in its answer {answer.strip()!r}")
    return job_id


def _call(command: Sequence[str]) -> str:
    """Standard output of a command; raises a SlurmError of the kind that its words tell."""
    try:
        result = subprocess.run(
            list(command),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise SlurmAbsentError(f"there is no {command[0]} on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmAwayError(f"{command[0]}: no answer within {TIMEOUT_S:g} s") from error
    if result.returncode == 0:
        return result.stdout
    words = result.stderr.strip() or f"exit status {result.returncode}"
    raise _kind_of(words)(f"{command[0]}: {words}")


def _kind_of(words: str) -> type[SlurmError]:
    lower = words.lower()
    if any(sign in lower for sign in ABSENT_SIGNS):
        return SlurmAbsentError
    return SlurmAwayError if any(sign in lower for sign in AWAY_SIGNS) else SlurmError


def _words_of(error: SlurmError) -> str:
    """Slurm's own words without the command's name."""
    lines = str(error).partition(": ")[2].splitlines()
    return "\n".join(PREFIX.sub("", line) for line in lines)


def _is_about_the_gone(line: str) -> bool:
    return any(sign in line.lower() for sign in GONE_SIGNS)
