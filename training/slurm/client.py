"""All calls of Slurm's commands: argv lists, a time limit each, errors with Slurm's message."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

from preprocess.roots import CHECKOUT
from training.slurm import parsers
from training.slurm.job_states import JobEnd, directive_of
from training.slurm.parsers import QueuedJob

TIMEOUT_S = 60.0
"""Of one command; Slurm's own commands give up on a dead controller after 9 to 20 s."""
SUBMIT_ATTEMPTS = 7
SUBMIT_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0
DEFAULT_ARRAY_SIZE = 1001
"""MaxArraySize where Slurm does not tell it (slurm.conf(5))."""
CONFIGURATION_KEYS = frozenset({"AccountingStorageType", "JobCompType", "MaxArraySize"})
"""What is asked of Slurm's configuration."""
COMPLETION_TAIL = 2**23
"""Bytes that are read of the job completion text, from its end."""
REMOVED_VARIABLES = re.compile(r"(SLURM|SBATCH|SQUEUE|SACCT|SCANCEL|SINFO|PREFECT)_")
UNREACHABLE_MESSAGES = (
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
ABSENT_MESSAGES = (
    "configuration source",
    "unable to process configuration file",
    "cannot stat file",
)
PREFIX = re.compile(r"^(\w+: )?(error: )?")
ENDED_MESSAGES = ("invalid job id", "already completing", "already completed")


class SlurmError(Exception):
    """A Slurm command failed; the message names the command and has Slurm's own message."""


class SlurmAwayError(SlurmError):
    """Slurm does not answer now; it may later."""


class SlurmAbsentError(SlurmError):
    """This machine has no Slurm, or none that is configured."""


class SlurmRefusedError(SlurmError):
    """Slurm refuses a job like this, now and later."""

    def __init__(self, slurm_message: str) -> None:
        self.slurm_message = slurm_message
        self.directive = directive_of(slurm_message)
        """The sbatch option that it is about; empty where the message does not tell."""
        hint = f" (see {self.directive})" if self.directive else ""
        super().__init__(f"Slurm refuses the job: {'; '.join(slurm_message.splitlines())}{hint}")


def is_installed() -> bool:
    """Return whether this machine has Slurm's commands."""
    return shutil.which("squeue", path=environment()["PATH"]) is not None


def environment() -> dict[str, str]:
    """Return the environment for Slurm's commands, which jobs inherit.

    It is this process's without the variables that change what the commands do, `SLURM_CONF`
    excepted, and without Prefect's; this interpreter's folder comes first on PATH. `srun` in a job
    waits for its first task however early the others end (`SLURM_WAIT`, srun(1)).
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if key == "SLURM_CONF" or not REMOVED_VARIABLES.match(key)
    }
    own, path = str(Path(sys.executable).parent), kept.get("PATH", os.defpath)
    path = path if path.startswith(own + ":") else f"{own}:{path}"
    return kept | {"PATH": path, "SLURM_WAIT": "0"}


def submit(
    command: Sequence[str],
    attempts: int = SUBMIT_ATTEMPTS,
    pause_s: float = SUBMIT_PAUSE_S,
    sleep: Callable[[float], object] = time.sleep,
) -> str:
    """Submit a job by its `sbatch --parsable …` command line and return its id.

    Where no answer comes, Slurm may have taken the job all the same: before it is submitted again,
    it is looked up by its name, script (absolute path) and arguments, which must therefore differ
    from those of every other job. Raises SlurmRefusedError, SlurmAbsentError, and SlurmAwayError
    after `attempts`, and whatever `sleep` raises between them.
    """
    may_be_taken = False
    for attempt in range(attempts):
        try:
            job_id = _look_up(command) if may_be_taken else None
            may_be_taken = True
            return job_id or _job_id(_call(command))
        except SlurmAwayError as error:
            away = error
        except SlurmAbsentError:
            raise
        except SlurmError as error:
            raise SlurmRefusedError(_slurm_message(error)) from error
        if attempt < attempts - 1:
            sleep(min(pause_s * 2**attempt, LONGEST_PAUSE_S))
    raise away


def test_only(command: Sequence[str]) -> None:
    """Ask whether Slurm would take this `sbatch …` command line; raises SlurmError, as `submit`."""
    try:
        _call([command[0], "--test-only", *command[1:]])
    except (SlurmAwayError, SlurmAbsentError):
        raise
    except SlurmError as error:
        raise SlurmRefusedError(_slurm_message(error)) from error


def job_name_of(command: Sequence[str]) -> str:
    """Return the `--job-name=` of an sbatch command line; empty without one."""
    option = "--job-name="
    return next((word.removeprefix(option) for word in command if word.startswith(option)), "")


def my_jobs() -> list[QueuedJob]:
    """Return this user's jobs that have not ended, each task of an array by itself; one query."""
    return parsers.queued_jobs(_squeue())


def jobs_of_id(job_id: str) -> list[QueuedJob]:
    """Return the jobs of an id, of whichever user, that have not ended; none where it is unknown.

    Raises SlurmError.
    """
    try:
        return parsers.queued_jobs(_queue("--jobs", job_id))
    except (SlurmAwayError, SlurmAbsentError):
        raise
    except SlurmError as error:
        if not _says_already_ended(_slurm_message(error)):
            raise
    return []


def cancel(job_ids: Collection[str]) -> None:
    """Cancel jobs, arrays or single tasks (`12_3`) in one request; ended ones are no error.

    Raises SlurmError.
    """
    if not job_ids:
        return
    try:
        _call(["scancel", *sorted(job_ids)])
    except (SlurmAwayError, SlurmAbsentError):
        raise
    except SlurmError as error:
        if not all(_says_already_ended(line) for line in _slurm_message(error).splitlines()):
            raise


def requeue(job_id: str) -> None:
    """Requeue a job (`scontrol requeue`), which ends its present run; raises SlurmError."""
    _call(["scontrol", "requeue", job_id])


def job_fields(job_id: str) -> dict[str, str]:
    """Return what Slurm's controller says of a job (`scontrol show job`); raises SlurmError."""
    return parsers.job_fields(_call(["scontrol", "show", "job", job_id]))


def exclude_nodes(job_ids: Collection[str], nodes: str) -> None:
    """Have queued jobs run on none of these nodes, a list as `--exclude` takes it.

    It replaces what they exclude. Raises SlurmError, also where one of them has begun; the others
    are changed all the same.
    """
    if job_ids:
        _call(["scontrol", "update", f"JobId={','.join(sorted(job_ids))}", f"ExcNodeList={nodes}"])


def job_ends(
    job_ids: Collection[str], moments: Mapping[str, datetime] = MappingProxyType({})
) -> dict[str, JobEnd]:
    """Return, by id, how jobs ended, as far as Slurm knows; one query for all, or two.

    `moments`: when a job ran, by id, so that no other job is meant to which Slurm has given the id
    before or since.

    The answer comes from accounting where there is some, else from the job completion text; what
    is missing there from the controller, which forgets after a few minutes. A job that is not in
    the answer may run, be queued, or be unknown; where Slurm does not answer no job is in it.
    """
    wanted, ends = set(job_ids), dict[str, JobEnd]()
    with contextlib.suppress(SlurmError):
        if wanted and _has_accounting():
            ends = parsers.last_ends(_account_runs(wanted), moments)
    with contextlib.suppress(SlurmError):
        if not wanted <= ends.keys():
            # A requeued job has an end in the completion text while it runs: the queue decides.
            queue = _squeue("--states=all")
            living = {job.job_id for job in parsers.queued_jobs(queue)}
            runs = [*parsers.queue_ends(queue).values(), *_completed_runs()]
            known = parsers.last_ends(runs, moments)
            ends = {job_id: end for job_id, end in known.items() if job_id not in living} | ends
    return {job_id: end for job_id, end in ends.items() if job_id in wanted}


def previous_run(job_id: str, moment: datetime) -> JobEnd | None:
    """Return how that run of a requeued job ended that was under way at `moment`.

    None where neither accounting nor the job completion text has it, or neither can be read here.
    """
    runs: list[JobEnd] = []
    with contextlib.suppress(SlurmError):
        runs = _account_runs({job_id}) if _has_accounting() else []
    return parsers.run_at([*runs, *_completed_runs()], job_id, moment)


def a_node_address() -> str | None:
    """Return the address by which Slurm reaches one of its nodes, None when it has none.

    Raises SlurmError.
    """
    addresses = _call(["sinfo", "--Node", "--noheader", "--format=%o"]).split()
    return addresses[0] if addresses else None


def max_array_size() -> int:
    """Return the site's MaxArraySize, which array indices are below, or Slurm's default for it.

    Raises SlurmRefusedError where the site has switched arrays off, and SlurmError.
    """
    size = parsers.whole_number(_configuration().get("MaxArraySize", ""))
    if size == 0:
        raise SlurmRefusedError("this site has no job arrays (MaxArraySize=0): use the flow")
    return DEFAULT_ARRAY_SIZE if size is None else size


def _has_accounting() -> bool:
    return _configuration().get("AccountingStorageType", "").endswith("slurmdbd")


def _completed_runs() -> list[JobEnd]:
    """Return the runs in the job completion text, where the site is known to write one."""
    configuration = dict[str, str]()
    with contextlib.suppress(SlurmError):  # what squeue knows counts all the same
        configuration = _configuration()
    if configuration.get("JobCompType", "") != "jobcomp/filetxt":
        return []
    try:
        with Path(configuration.get("JobCompLoc", "")).open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - COMPLETION_TAIL))
            text = stream.read().decode("utf-8", errors="replace")
    except (OSError, ValueError):  # a path with a NUL is a ValueError
        return []
    return parsers.completion_runs(text.splitlines())


def _account_runs(job_ids: set[str]) -> list[JobEnd]:
    whole_jobs = ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))
    command = ["sacct", "--duplicates", "--allocations", "--parsable2", "--noheader"]
    command += [f"--jobs={whole_jobs}", "--format=" + ",".join(parsers.ACCOUNT_FIELDS)]
    return parsers.account_runs(_call(command))


def _look_up(command: Sequence[str]) -> str | None:
    """Return the id of the job, ended or not, that a command line has submitted; None if none.

    Raises SlurmAbsentError, else SlurmAwayError, whatever squeue says: no job is refused by it.
    """
    name, line = job_name_of(command), " ".join(command)
    try:
        queue = _squeue("--states=all")
    except SlurmAbsentError:
        raise
    except SlurmError as error:
        raise SlurmAwayError(str(error)) from error
    for job in parsers.all_jobs(queue):
        if job.name == name and job.command and line.endswith(f" {job.command}"):
            return job.array_job_id
    return None


def _squeue(*more: str) -> str:
    return _queue("--me", *more)


def _queue(*more: str) -> str:
    """Return squeue's output, with its head; raises SlurmAwayError for what is none of it."""
    text = _call(["squeue", "--array", f"--Format={parsers.QUEUE_FORMAT}", *more])
    if not parsers.is_queue(text):
        raise SlurmAwayError(f"squeue: no queue in its answer {_first_line(text)!r}")
    return text


def _configuration() -> dict[str, str]:
    return _read_configuration(os.environ.get("SLURM_CONF", ""))


@cache
def _read_configuration(_slurm_conf: str) -> dict[str, str]:
    text = _call(["scontrol", "show", "config"])
    found = parsers.configuration(text)
    if not CONFIGURATION_KEYS & found.keys():  # an exception is not cached
        raise SlurmAwayError(f"scontrol: no configuration in its answer {_first_line(text)!r}")
    return found


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:100]


def _job_id(answer: str) -> str:
    """Return the id in sbatch's answer, `12` or `12;cluster`; raises SlurmAwayError without one."""
    job_id = answer.strip().splitlines()[-1].partition(";")[0] if answer.strip() else ""
    if parsers.whole_number(job_id) is None:
        raise SlurmAwayError(f"sbatch: no job id in its answer {answer.strip()!r}")
    return job_id


def _call(command: Sequence[str]) -> str:
    """Run a command and return its standard output; raises SlurmError or one of its subclasses."""
    try:
        result = subprocess.run(
            list(command),
            cwd=CHECKOUT,  # scripts go to $SLURM_SUBMIT_DIR
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
    message = result.stderr.strip() or f"exit status {result.returncode}"
    raise _error_class(message)(f"{command[0]}: {message}")


def _error_class(message: str) -> type[SlurmError]:
    lower = message.lower()
    if any(part in lower for part in ABSENT_MESSAGES):
        return SlurmAbsentError
    return SlurmAwayError if any(part in lower for part in UNREACHABLE_MESSAGES) else SlurmError


def _slurm_message(error: SlurmError) -> str:
    """Return Slurm's own message without the command's name."""
    lines = str(error).partition(": ")[2].splitlines()
    return "\n".join(PREFIX.sub("", line) for line in lines)


def _says_already_ended(line: str) -> bool:
    return any(part in line.lower() for part in ENDED_MESSAGES)
