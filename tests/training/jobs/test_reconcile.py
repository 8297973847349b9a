"""Records get Slurm's cause where their own is unknown: written once, with one query for many."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import UTC, datetime, timedelta

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
    """Create output folders with a record whose only attempt ended by a cause, or runs."""

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
    """Claim the folder as a process on that host would have, `age_s` seconds ago."""
    folder = output / claim.FOLDER
    folder.mkdir()
    process = {**vars(process_id(os.getpid())), "host": host, **process}
    content = {"process": process, "launcher": process, "since": "then", "slurm_job_id": job}
    path = folder / "000001.json"
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - age_s,) * 2)


def reconcile_with(output, end, wait_s=0.0):
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
def test_an_attempt_without_a_known_cause_gets_slurms(place, state, cause, unexplained):
    """Whether it was killed with its job or told to end by Slurm; the scene is never done."""
    output = place(unexplained and Cause.WORKER_LOST, unexplained or "")
    outcome = reconcile_with(output, JobEnd("12_3", state, node="n1"))
    record = read_record(output)
    assert (outcome.cause, record.cause) == (cause, cause)
    assert record.status == ("cancelled" if cause is Cause.CANCELLED else "failed")
    message = record.attempts[-1].message
    assert all(part in message for part in ("12_3", "n1", str(output / "train.log")))


def test_the_end_of_another_job_with_the_same_id_changes_no_record(place):
    """A controller that has lost its state gives ids out again: the times tell the jobs apart."""
    output = place()
    later = JobEnd("12_3", "CANCELLED", start=THEN + timedelta(days=1))
    assert reconcile_with(output, later).status == "cancelled"
    assert read_record(output).status == "running"


@pytest.mark.parametrize(
    ("recorded", "seen", "words"),
    [
        ("its supervisor (process 7) was ended by SIGKILL", "", "process 7) was ended by SIGKILL;"),
        ("process 5 (flows.slurm.dask_worker) that had launched it died", "its", "dask_worker)"),
        (None, "its Dask worker was lost (gone)", "its Dask worker was lost (gone); its sup"),
        (None, "", "its supervisor (process 1 on n1) left no word of how it ended; log "),
    ],
)
@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", None])
def test_a_jobs_clean_end_hides_nobodys_death(place, state, recorded, seen, words):
    """What record or caller knows of who died is told beside Slurm's answer, and told once."""
    output = place(recorded and Cause.WORKER_LOST, recorded or "")
    end = JobEnd("12_3", state, node="n1") if state else None
    outcome = reconcile_output("dance", output, "12_3", end, 0.0, seen=seen)
    said = f"Slurm: job 12_3 on n1 ended as {state}; " if state else "how it ended is not known; "
    assert said in outcome.message
    assert words in outcome.message
    assert (reconcile_with(output, end).message, read_record(output).cause) == (
        outcome.message,
        Cause.WORKER_LOST,
    )


def test_an_end_that_slurm_does_not_know_is_a_lost_worker(place):
    """The record says so, and is final."""
    output = place()
    assert reconcile_with(output, None).cause is Cause.WORKER_LOST
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
def test_a_cause_that_the_record_knows_stays(place, cause, state):
    """A worker's job, for one, ends CANCELLED when its scenes are done."""
    output = place(cause, "why")
    before = (output / "run.json").read_bytes()
    outcome = reconcile_with(output, JobEnd("12_3", state))
    assert (outcome.cause, outcome.message) == (cause, "why")
    assert (output / "run.json").read_bytes() == before


def test_slurms_out_of_memory_explains_a_killed_trainer(place):
    """Its supervisor saw only the kill; the exit status that it saw stays."""
    output = place(Cause.TRAINER_ERROR, "ended by SIGKILL", exit_status=-9)
    assert reconcile_with(output, JobEnd("12_3", "OUT_OF_MEMORY")).cause is Cause.OUT_OF_MEMORY
    assert read_record(output).attempts[-1].exit_status == -9


def test_a_scene_that_shared_its_gpu_says_so_where_only_slurm_knows_what_it_lacked(place):
    """As the record of one whose supervisor saw it; a timeout has nothing to do with it."""
    for state, is_said in (("OUT_OF_MEMORY", True), ("TIMEOUT", False)):
        output = place(scene=state)
        end = JobEnd("12_3", state, node="n1")
        outcome = reconcile_output(state, output, "12_3", end, 0.0, scenes_on_gpu=4)
        assert ("up to 4 scenes" in read_record(output).attempts[0].message) == is_said
        assert ("up to 4 scenes" in outcome.message) == is_said


def test_the_end_that_a_supervisor_saw_stays(place):
    """Slurm may be asked hours later: end time and metrics are those that were recorded."""
    output = place(Cause.WORKER_LOST, TOLD)
    seen = read_record(output)
    reconcile_with(output, NODE_FAIL)
    assert read_record(output).attempts[-1].end == seen.attempts[-1].end
    assert read_record(output).metrics == seen.metrics


def test_a_job_that_ended_before_its_attempt_changes_no_record(place):
    """The record's last attempt is of another job; the outcome alone has the cause."""
    output = place(Cause.OK, job="11")
    before = (output / "run.json").read_bytes()
    outcome = reconcile_with(output, NODE_FAIL)
    assert (outcome.scene, outcome.status) == ("dance", "failed")
    assert outcome.cause is Cause.NODE_FAILURE
    assert (output / "run.json").read_bytes() == before


def test_a_holder_on_a_lost_node_holds_until_its_heartbeats_stop(place):
    """A node out of Slurm's reach may still run it: first held, later lost."""
    output = place()
    hold(output, age_s=1)
    assert reconcile_with(output, NODE_FAIL).status == "held"
    assert read_record(output).status == "running"
    hold_file = next((output / claim.FOLDER).glob("*.json"))
    os.utime(hold_file, (time.time() - claim.SILENT_AFTER_S - 1,) * 2)
    assert reconcile_with(output, NODE_FAIL).cause is Cause.NODE_FAILURE


def test_an_ended_jobs_holder_is_dead_at_once(place):
    """Slurm has ended its processes, however fresh the last heartbeat is."""
    output = place()
    hold(output)
    assert reconcile_with(output, JobEnd("12_3", "TIMEOUT")).cause is Cause.TIMEOUT


def test_a_holder_that_lives_on_this_host_is_never_reconciled(place):
    """The kernel knows that it lives, whatever Slurm says."""
    output = place()
    hold(output, host=socket.gethostname())
    assert reconcile_with(output, JobEnd("12_3", "TIMEOUT")).status == "held"
    assert read_record(output).status == "running"


@pytest.fixture
def asked(monkeypatch):
    """The queries to Slurm, which knows the job 12_3 only."""
    questions = []

    def job_ends(job_ids, moments):
        assert set(moments.values()) <= {THEN}
        questions.append(set(job_ids))
        return {"12_3": NODE_FAIL} if "12_3" in job_ids else {}

    monkeypatch.setattr(reconcile.client, "job_ends", job_ends)
    return questions


def test_many_are_reconciled_with_one_query(place, asked):
    """Only scenes without a known cause whose job is not queued; unknown ones later."""
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


def test_a_job_that_slurm_never_knows_is_a_lost_worker_after_a_while(place, asked):
    """And Slurm is not asked for it again."""
    output = place(job="13")
    hold(output, job="13", age_s=reconcile.PATIENCE_S + 60)
    for _ in range(2):
        reconcile_all([output], set())
    assert read_record(output).cause is Cause.WORKER_LOST
    assert asked[:1] == [{"13"}]
    assert not any(asked[1:])


def test_slurm_is_not_asked_when_there_is_nothing_to_reconcile(place, asked):
    """A done scene, an unreadable record and a folder without one need no query."""
    output = place(Cause.OK)
    (output / "run.json").write_text("{")
    reconcile_all([output, output.parent / "none"], set())
    assert not any(asked)
