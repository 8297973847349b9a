"""A record and Slurm's word become one cause, written once, with one question for many."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import UTC, datetime

import pytest

from training.jobs import reconcile
from training.jobs.reconcile import reconcile_all, reconcile_output
from training.records import claim
from training.records.record import Attempt, Cause, RunRecord, read_record, write_record
from training.slurm.job_states import JobEnd
from training.system.processes import process_id

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NODE_FAIL = JobEnd("12_3", "NODE_FAIL", node="n1")
TOLD = "told to end by Slurm (job 12_3 on n1)"


@pytest.fixture
def place(tmp_path):
    """Make a scene's output folder with a record whose last attempt has this cause."""

    def make(cause=None, message="", job="12_3", scene="dance", exit_status=None):
        output = tmp_path / scene / "exp"
        output.mkdir(parents=True)
        record = RunRecord(scene=scene, exp_name="exp", fingerprint="f", status="running")
        record = record.started(Attempt(start=THEN, host="n1", pid=1, slurm_job_id=job))
        if cause is not None:
            record = record.ended(cause, exit_status, message, {"psnr": 1.0})
        write_record(output, record)
        return output

    return make


def hold(output, host="n1", age_s=0.0, job="12_3", **process):
    """A claim on the folder as a process on that host would have left it."""
    folder = output / claim.FOLDER
    folder.mkdir()
    process = {**vars(process_id(os.getpid())), "host": host, **process}
    content = {"process": process, "launcher": process, "since": "then", "slurm_job_id": job}
    path = folder / "000001.json"
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - age_s,) * 2)


def join(output, end, wait_s=0.0):
    return reconcile_output("dance", output, "12_3", end, wait_s)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("TIMEOUT", Cause.TIMEOUT),
        ("NODE_FAIL", Cause.NODE_FAILURE),
        ("PREEMPTED", Cause.PREEMPTED),
        ("OUT_OF_MEMORY", Cause.OUT_OF_MEMORY),
        ("CANCELLED", Cause.CANCELLED),
        ("FAILED", Cause.WORKER_LOST),
        ("COMPLETED", Cause.WORKER_LOST),
    ],
)
@pytest.mark.parametrize("unexplained", [None, TOLD])
def test_an_attempt_without_a_verdict_gets_slurms(place, state, cause, unexplained):
    """Killed with its job, or told to end: the cause is Slurm's, success never is."""
    output = place(unexplained and Cause.WORKER_LOST, unexplained or "")
    outcome = join(output, JobEnd("12_3", state, node="n1"))
    record = read_record(output)
    assert (outcome.cause, record.cause) == (cause, cause)
    assert record.status == ("cancelled" if cause is Cause.CANCELLED else "failed")
    message = record.attempts[-1].message
    assert all(part in message for part in ("12_3", "n1", str(output / "train.log")))


def test_what_nobody_knows_is_a_lost_worker(place):
    """Never success, and not asked for ever."""
    output = place()
    assert join(output, None).cause is Cause.WORKER_LOST
    assert "how it ended is not known" in read_record(output).attempts[-1].message


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (Cause.OK, "CANCELLED"),
        (Cause.OK, "TIMEOUT"),
        (Cause.CONFIG, "FAILED"),
        (Cause.TRAINER_ERROR, "TIMEOUT"),
        (Cause.TIMEOUT, "NODE_FAIL"),
        (Cause.CANCELLED, "FAILED"),
    ],
)
def test_a_verdict_of_the_record_stays(place, cause, state):
    """A worker's job ends CANCELLED when all is done; that is no verdict about its scenes."""
    output = place(cause, "why")
    before = (output / "run.json").read_bytes()
    outcome = join(output, JobEnd("12_3", state))
    assert (outcome.cause, outcome.message) == (cause, "why")
    assert (output / "run.json").read_bytes() == before


def test_a_trainer_that_memory_ended_says_so(place):
    """All that its supervisor saw was a kill."""
    output = place(Cause.TRAINER_ERROR, "ended by SIGKILL", exit_status=-9)
    assert join(output, JobEnd("12_3", "OUT_OF_MEMORY")).cause is Cause.OUT_OF_MEMORY
    assert read_record(output).attempts[-1].exit_status == -9


def test_the_end_that_a_supervisor_saw_stays(place):
    """Slurm is asked hours later; the attempt ended when it ended, with what it had measured."""
    output = place(Cause.WORKER_LOST, TOLD)
    seen = read_record(output)
    join(output, NODE_FAIL)
    assert read_record(output).attempts[-1].end == seen.attempts[-1].end
    assert read_record(output).metrics == seen.metrics


def test_a_job_that_never_came_to_its_attempt_changes_no_record(place):
    """The last attempt is another job's."""
    output = place(Cause.OK, job="11")
    before = (output / "run.json").read_bytes()
    outcome = join(output, NODE_FAIL)
    assert (outcome.scene, outcome.status) == ("dance", "failed")
    assert outcome.cause is Cause.NODE_FAILURE
    assert (output / "run.json").read_bytes() == before


def test_a_lost_nodes_holder_is_believed_until_it_is_silent(place):
    """An unreachable node may still run it: held, then lost."""
    output = place()
    hold(output, age_s=1)
    assert join(output, NODE_FAIL).status == "held"
    assert read_record(output).status == "running"
    hold_file = next((output / claim.FOLDER).glob("*.json"))
    os.utime(hold_file, (time.time() - claim.SILENT_AFTER_S - 1,) * 2)
    assert join(output, NODE_FAIL).cause is Cause.NODE_FAILURE


def test_an_ended_jobs_holder_is_dead_at_once(place):
    """Slurm has cleaned up; its last beat may be a second old."""
    output = place()
    hold(output)
    assert join(output, JobEnd("12_3", "TIMEOUT")).cause is Cause.TIMEOUT


def test_who_lives_on_this_host_is_never_settled(place):
    """The kernel says so, whatever Slurm says."""
    output = place()
    hold(output, host=socket.gethostname())
    assert join(output, JobEnd("12_3", "TIMEOUT")).status == "held"
    assert read_record(output).status == "running"


@pytest.fixture
def asked(monkeypatch):
    """What Slurm is asked; it answers for 12_3 only."""
    questions = []

    def job_ends(job_ids):
        questions.append(set(job_ids))
        return {"12_3": NODE_FAIL} if "12_3" in job_ids else {}

    monkeypatch.setattr(reconcile.client, "job_ends", job_ends)
    return questions


def test_many_are_settled_with_one_question(place, asked):
    """Only those without a verdict whose job is not queued; the unknown later."""
    outputs = {
        "ended": place(scene="ended"),
        "told": place(Cause.WORKER_LOST, TOLD, scene="told"),
        "unknown": place(job="13", scene="unknown"),
        "queued": place(job="14", scene="queued"),
        "done": place(Cause.OK, job="15", scene="done"),
        "here": place(job="", scene="here"),
    }
    hold(outputs["unknown"], host=socket.gethostname(), job="13", start_ticks=1)
    reconcile_all(outputs.values(), {"14"})
    assert asked == [{"12_3", "13"}]
    causes = {scene: read_record(output).cause for scene, output in outputs.items()}
    assert causes == {
        "ended": Cause.NODE_FAILURE,
        "told": Cause.NODE_FAILURE,
        "unknown": None,
        "queued": None,
        "done": Cause.OK,
        "here": None,
    }


def test_patience_ends(place, asked):
    """What Slurm never tells is a lost worker, and is not asked for again."""
    output = place(job="13")
    hold(output, job="13", age_s=reconcile.PATIENCE_S + 60)
    for _ in range(2):
        reconcile_all([output], set())
    assert read_record(output).cause is Cause.WORKER_LOST
    assert asked[:1] == [{"13"}]
    assert not any(asked[1:])


def test_nothing_to_settle_asks_nothing(place, asked):
    """Unreadable records and folders without one are not Slurm's affair."""
    output = place(Cause.OK)
    (output / "run.json").write_text("{")
    reconcile_all([output, output.parent / "none"], set())
    assert not any(asked)
