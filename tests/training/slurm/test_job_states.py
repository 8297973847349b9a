"""Parsing of what Slurm prints: the queue, how jobs ended, refusals."""

from __future__ import annotations

import os
import pwd
from datetime import datetime

import pytest

from training.jobs.job_cause import cause_of_job
from training.records.record import Cause
from training.slurm import parsers
from training.slurm.job_states import JobEnd, directive_of
from training.slurm.parsers import SEPARATOR

ME = pwd.getpwuid(os.getuid()).pw_name


def queue_line(**given):
    """Return a line of squeue's output in the format that the client asks for."""
    fields = dict.fromkeys(parsers.QUEUE_FIELDS, "") | {"JobArrayID": "12", "State": "RUNNING"}
    return "".join(f"{value}{SEPARATOR}" for value in (fields | given).values())


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("TIMEOUT", Cause.TIMEOUT),
        ("DEADLINE", Cause.TIMEOUT),
        ("NODE_FAIL", Cause.NODE_FAILURE),
        ("BOOT_FAIL", Cause.NODE_FAILURE),
        ("PREEMPTED", Cause.PREEMPTED),
        ("OUT_OF_MEMORY", Cause.OUT_OF_MEMORY),
        ("CANCELLED", Cause.CANCELLED),
        ("COMPLETED", None),
        ("FAILED", None),
        ("SOMETHING_NEW", None),
    ],
)
def test_a_state_means_a_cause_or_none(state, cause):
    """COMPLETED, FAILED and unknown states mean none: the scene's record decides."""
    found, message = cause_of_job(JobEnd("12_3", state, node="n1"))
    assert found is cause
    assert "job 12_3 on n1" in message


def test_a_cancelled_job_names_who_cancelled_it():
    """By the user's name; a user id without a name is shown as it is."""
    assert (
        f"cancelled by user {ME}" in cause_of_job(JobEnd("1", "CANCELLED", by_uid=os.getuid()))[1]
    )
    assert "cancelled by user 4294967000" in str(JobEnd("1", "CANCELLED", by_uid=4294967000))
    assert str(JobEnd("1", "CANCELLED")) == "job 1 was cancelled"


@pytest.mark.parametrize(
    ("words", "directive"),
    [
        ("invalid partition specified: account", "--partition"),
        ("Invalid account or account/partition combination specified", "--account"),
        ("Job violates accounting/QOS policy (job submit limit)", "--qos"),
        ("Invalid generic resource (gres) specification", "--gres"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "--time"),
        ("Memory required by task is not available", "--mem"),
        ("Invalid --mail-type specification", "--mail-type"),
        ("Requested node configuration is not available", "--cpus-per-task, --mem, --gres"),
        ("the moon is full", ""),
    ],
)
def test_a_refusal_names_the_directive_it_is_about(words, directive):
    """Specific parts of a message win over those that many refusals contain."""
    found = directive_of(words)
    assert found.startswith(directive)
    assert bool(found) is bool(directive)


def test_a_queue_line_is_a_job_whatever_its_name():
    """Names and paths may contain spaces, bars and commas."""
    line = queue_line(
        JobArrayID="12_3",
        ArrayJobID="12",
        ArrayTaskID="3",
        Name="a|b, c",
        State="PENDING",
        NodeList="(null)",
        TimeUsed="1-02:03:04",
        TimeLeft="UNLIMITED",
        Command="/a b/x.slurm --in-job array /p.json 0",
    )
    (job,) = parsers.queued_jobs(line)
    assert (job.job_id, job.array_job_id, job.array_task_id) == ("12_3", "12", 3)
    assert (job.name, job.node, job.is_pending) == ("a|b, c", "", True)
    assert (job.elapsed_s, job.time_left_s) == (93784, None)
    assert job.command == "/a b/x.slurm --in-job array /p.json 0"


def test_garbage_in_the_queue_is_no_job():
    """Warnings of a site's plugins, half lines and empty output are skipped."""
    garbage = f"squeue: warning: x\n\n1{SEPARATOR}2{SEPARATOR}\n"
    assert parsers.queued_jobs(garbage) == []
    assert parsers.queue_ends(garbage) == {}
    assert parsers.account_runs("x|y\nslurmdbd is away\n") == []
    assert parsers.completion_runs(["", "JobId=", "nonsense"]) == []


def test_ended_jobs_are_told_from_those_in_the_queue():
    """squeue --states=all shows both; a completing job is still in the queue, but over."""
    states = {"1": "RUNNING", "2": "COMPLETING", "3": "FAILED"}
    text = "\n".join(queue_line(JobArrayID=k, State=v, exit_code="256") for k, v in states.items())
    queued = parsers.queued_jobs(text)
    assert [(job.job_id, job.is_over) for job in queued] == [("1", False), ("2", True)]
    (end,) = parsers.queue_ends(text).values()
    assert (end.job_id, end.state, end.exit_code, end.signal) == ("3", "FAILED", 1, 0)


def test_the_last_run_that_had_a_node_tells_how_a_job_ended():
    """A job that was requeued after its node failed, then cancelled: the node's failure counts."""
    text = """\
12_0|NODE_FAIL|0:0|n1|2026-11-23T18:20:05|2026-11-23T18:20:07
12_1|CANCELLED by 1000|0:15|n2|2026-11-23T18:20:05|2026-11-23T18:20:07
12_2|NODE_FAIL|0:0|n1|2026-11-23T18:20:05|2026-11-23T18:20:07
12_0|CANCELLED by 0|0:0|None assigned|None|2026-11-23T18:20:09
12_2|RUNNING|0:0|n2|2026-11-23T18:20:05|Unknown
12_[4-7%2]|PENDING|0:0|None assigned|Unknown|Unknown
"""
    ends = parsers.last_ends(parsers.account_runs(text))
    assert {job_id: end.state for job_id, end in ends.items()} == {
        "12_0": "NODE_FAIL",
        "12_1": "CANCELLED",
    }
    assert (ends["12_1"].by_uid, ends["12_1"].signal, ends["12_1"].node) == (1000, 15, "n2")
    assert ends["12_1"].end.isoformat().startswith("2026-11-23T18:20:07")


def test_the_run_of_a_requeued_job_is_found_by_a_moment_in_it():
    """Each attempt has its own run; the one that still goes on has no end."""
    text = """\
12_0|PREEMPTED|0:0|n1|2026-11-23T18:00:00|2026-11-23T18:10:00
12_0|REQUEUED|0:0|n2|2026-11-23T18:20:00|2026-11-23T18:30:00
12_0|RUNNING|0:0|n2|2026-11-23T18:40:00|Unknown
13_0|NODE_FAIL|0:0|n2|2026-11-23T18:00:00|2026-11-23T19:00:00
"""
    runs = parsers.account_runs(text)

    def state(clock):
        moment = datetime.fromisoformat(f"2026-11-23T{clock}").astimezone()
        run = parsers.run_at(runs, "12_0", moment)
        return run and run.state

    moments = ("18:00:00.5", "18:09:59", "18:15:00", "18:20:01", "18:41:00")
    assert list(map(state, moments)) == ["PREEMPTED", "PREEMPTED", None, "REQUEUED", None]


def test_an_id_that_slurm_gave_out_again_is_told_by_the_time():
    """Its controller had lost its state: two jobs of one id, each asked for by a moment in it."""
    text = """\
12|FAILED|1:0|n1|2026-11-23T18:00:00|2026-11-23T18:10:00
12|CANCELLED by 0|0:15|n2|2026-11-24T09:00:00|2026-11-24T09:10:00
"""
    runs = parsers.account_runs(text)

    def state(moment):
        moments = {"12": datetime.fromisoformat(moment).astimezone()}
        return {each.state for each in parsers.last_ends(runs, moments).values()}

    assert parsers.last_ends(runs)["12"].state == "CANCELLED"
    assert state("2026-11-23T18:01:00") == {"FAILED"}
    assert state("2026-11-23T17:58:00") == {"FAILED"}  # by a node's clock that is slow
    assert state("2026-11-24T09:08:00") == {"CANCELLED"}
    assert state("2026-11-24T01:00:00") == set()


def test_job_completion_text_names_array_tasks():
    """Also where the job's name has spaces, which `sacct -c` garbles."""
    line = (
        "JobId=6 UserId=root(0) GroupId=root(0) Name=my job JobState=TIMEOUT Partition=gpu"
        " StartTime=2026-11-23T18:18:59 EndTime=2026-11-23T18:19:00 NodeList=n1 WorkDir=/tmp"
        " ArrayJobId=1 ArrayTaskId=4 DerivedExitCode=0:0 ExitCode=0:9 "
    )
    (end,) = parsers.completion_runs([line])
    assert (end.job_id, end.state, end.node, end.signal) == ("1_4", "TIMEOUT", "n1", 9)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0:07", 7), ("1:02:03", 3723), ("2-00:00:00", 172800), ("NOT_SET", None)]
)
def test_slurms_clock(text, seconds):
    """At least minutes and seconds; a word is no time."""
    assert parsers.seconds_of_clock(text) == seconds
