"""An array task that ends before our code runs leaves a record all the same."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest

from training.jobs import reconcile
from training.jobs.array_chunks import ArrayChunk
from training.jobs.reconcile import reconcile_all
from training.jobs.sbatch_commands import array_job
from training.records.record import Attempt, Cause, RunRecord, read_record, write_record
from training.slurm.job_states import JobEnd

WORDS = "module: command not found"


@pytest.fixture(autouse=True)
def ends(monkeypatch):
    """What Slurm answers about how jobs ended, by job id; a test fills it."""
    told = {}
    monkeypatch.setattr(
        reconcile.client, "job_ends", lambda ids, _: {i: told[i] for i in ids if i in told}
    )
    return told


def printed(plan, file, text=WORDS, age_s=0.0):
    """Write a job's log, last changed `age_s` seconds ago."""
    plan.job_logs.mkdir(parents=True, exist_ok=True)
    path = plan.job_logs / file
    path.write_text(text + "\n")
    os.utime(path, (time.time() - age_s,) * 2)


def reconciled(*plans, queued=()):
    """Reconcile the scenes of these plans and return their records by scene."""
    scenes = plans[0].scenes
    reconcile_all([scene.output for scene in scenes], set(queued), plans)
    return {scene.name: read_record(scene.output) for scene in scenes}


def test_the_record_has_slurms_state_and_the_jobs_last_output(plan, ends):
    """The scene failed, with job, node, last output and log; other scenes get no record."""
    printed(plan, "job-12_1.out")
    ends["12_1"] = JobEnd("12_1", "FAILED", exit_code=127, node="n1")
    found = reconciled(plan)
    assert (found["a"], found["c"]) == (None, None)
    (attempt,) = found["b"].attempts
    assert (found["b"].status, attempt.cause, attempt.host) == ("failed", "worker_lost", "n1")
    for words in ("job 12_1 on n1 ended as FAILED (exit status 127)", WORDS, "job-12_1.out"):
        assert words in attempt.message


def test_the_record_is_written_once(plan, ends):
    """Reconciling again changes nothing."""
    printed(plan, "job-12_1.out")
    ends["12_1"] = JobEnd("12_1", "FAILED")
    assert reconciled(plan) == reconciled(plan)


@pytest.mark.parametrize(
    ("file", "scene"),
    [("job-12_0.out", "a"), ("job-13_1+0.out", "b"), ("job-13_1+1.out", "c")],
)
def test_an_array_of_a_split_plan_counts_from_its_offset(plan, file, scene):
    """The log's file name has the offset, as the sbatch command line asks for it."""
    printed(plan, file, age_s=reconcile.PATIENCE_S + 5)
    assert [name for name, record in reconciled(plan).items() if record] == [scene]
    line = array_job(plan, ArrayChunk(1, 2))
    assert any(word.endswith("/%x-%A_1+%a.out") for word in line)


def test_what_slurm_does_not_know_is_recorded_after_a_minute(plan):
    """Accounting may be late; a minute after the job's last output that output is enough."""
    printed(plan, "job-12_0.out", age_s=reconcile.PATIENCE_S - 30)
    assert reconciled(plan)["a"] is None
    printed(plan, "job-12_0.out", age_s=reconcile.PATIENCE_S + 5)
    assert WORDS in reconciled(plan)["a"].attempts[0].message


@pytest.mark.parametrize("text", ["a: not started, --max-failures", "a done, log x"])
def test_a_task_in_which_our_code_ran_is_left_alone(plan, text):
    """Its log has our last line: a scene that did not start has the reason there."""
    printed(plan, "job-12_0.out", text, age_s=3600)
    assert reconciled(plan)["a"] is None


def test_queued_and_cancelled_are_left_alone(plan):
    """A task that is in the queue, and all tasks of a cancelled plan."""
    printed(plan, "job-12_0.out", age_s=3600)
    assert reconciled(plan, queued={"12_0"})["a"] is None
    plan.cancelled.parent.mkdir(parents=True)
    plan.cancelled.touch()
    assert reconciled(plan)["a"] is None


@pytest.mark.parametrize(
    ("fingerprint", "cause", "start"),
    [
        ("f", Cause.OK, timedelta(days=-1)),
        ("other", Cause.TRAINER_ERROR, timedelta(days=-1)),
        ("f", Cause.TRAINER_ERROR, timedelta(seconds=1)),
    ],
)
def test_a_record_that_says_more_is_kept(plan, fingerprint, cause, start):
    """Of a done scene, of another configuration, and of an attempt since the plan was made."""
    printed(plan, "job-12_0.out", age_s=3600)
    record = RunRecord(scene="a", exp_name="exp", fingerprint=fingerprint, status="running")
    attempt = Attempt(start=plan.created + start, host="n1", pid=1)
    record = record.started(attempt).ended(cause, 0, "")
    plan.scenes[0].output.mkdir(parents=True)
    write_record(plan.scenes[0].output, record)
    assert reconciled(plan)["a"] == record


def test_jobs_of_an_older_plan_are_ignored(make_plan):
    """The scene was submitted again since."""
    old, new = make_plan("exp-1"), make_plan("exp-2")
    printed(old, "job-12_0.out", age_s=3600)
    assert reconciled(new, old)["a"] is None
