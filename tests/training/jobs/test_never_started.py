"""Array tasks that end before our code runs in them leave a record all the same."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from training.jobs import reconcile
from training.jobs.reconcile import reconcile_all
from training.jobs.sbatch_commands import ArrayChunk, array_job
from training.plan.model import Plan, ScenePlan, SlurmPlan
from training.records.record import Attempt, Cause, RunRecord, read_record, write_record
from training.slurm.job_states import JobEnd
from training.system.paths import Roots

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = "module: command not found"


@pytest.fixture(autouse=True)
def ends(monkeypatch):
    """What Slurm says of how jobs ended."""
    told = {}
    monkeypatch.setattr(
        reconcile.client, "job_ends", lambda ids: {i: told[i] for i in ids if i in told}
    )
    return told


@pytest.fixture
def plan(tmp_path):
    """An array plan of three scenes, kept a while ago."""
    return make_plan(tmp_path, CREATED)


def make_plan(root, created, name="exp-1"):
    roots = Roots(results_root=root / "results", scene_data_root=root, state_root=root / "state")
    slurm = SlurmPlan(
        script=root / "s",
        script_text="",
        light_script_text="",
        job_name="job",
        time_s=60,
        scenes_per_job=1,
        parallelism=2,
    )
    scenes = tuple(
        ScenePlan(
            name=scene,
            exp_name="exp",
            scene={},
            scene_file=root / f"{scene}.json",
            action="run",
            reason="new",
            command=("python",),
            environment={},
            output=roots.output_folder(scene, "exp"),
            fingerprint="f",
            expected_outputs=(),
            time_limit_s=60,
            kill_grace_s=1,
            cancelled=root / "state" / "plans" / f"{name}.cancelled",
        )
        for scene in "abc"
    )
    return Plan(
        plan_id=name,
        created=created,
        exp_name="exp",
        roots=roots,
        scenes=scenes,
        workers=1,
        gpus=(),
        max_retries=0,
        max_failures=0,
        slurm=slurm,
    )


def printed(plan, file, text=WORDS, age_s=0.0):
    """A job's log."""
    plan.job_logs.mkdir(parents=True, exist_ok=True)
    path = plan.job_logs / file
    path.write_text(text + "\n")
    os.utime(path, (time.time() - age_s,) * 2)


def reconciled(*plans, queued=()):
    """The records afterwards, by scene."""
    scenes = plans[0].scenes
    reconcile_all([scene.output for scene in scenes], set(queued), plans)
    return {scene.name: read_record(scene.output) for scene in scenes}


def test_the_record_says_what_slurm_and_the_job_said(plan, ends):
    """Failed, with the job, its node, its last words and its log; nothing of the others."""
    printed(plan, "job-12_1.out")
    ends["12_1"] = JobEnd("12_1", "FAILED", exit_code=127, node="n1")
    found = reconciled(plan)
    assert (found["a"], found["c"]) == (None, None)
    (attempt,) = found["b"].attempts
    assert (found["b"].status, attempt.cause, attempt.host) == ("failed", "worker_lost", "n1")
    for words in ("job 12_1 on n1 ended as FAILED (exit status 127)", WORDS, "job-12_1.out"):
        assert words in attempt.message


def test_it_is_written_once(plan, ends):
    """Who looks again finds it settled."""
    printed(plan, "job-12_1.out")
    ends["12_1"] = JobEnd("12_1", "FAILED")
    assert reconciled(plan) == reconciled(plan)


@pytest.mark.parametrize(
    ("file", "scene"),
    [("job-12_0.out", "a"), ("job-13_1+0.out", "b"), ("job-13_1+1.out", "c")],
)
def test_a_part_of_a_split_array_counts_from_its_offset(plan, file, scene):
    """As its sbatch line names the log."""
    printed(plan, file, age_s=reconcile.PATIENCE_S + 5)
    assert [name for name, record in reconciled(plan).items() if record] == [scene]
    line = array_job(plan, ArrayChunk(1, 2))
    assert any(word.endswith("/%x-%A_1+%a.out") for word in line)


def test_what_slurm_does_not_know_waits_for_the_logs_silence(plan):
    """A minute, in which accounting may be late; then the job's own words are enough."""
    printed(plan, "job-12_0.out", age_s=reconcile.PATIENCE_S - 30)
    assert reconciled(plan)["a"] is None
    printed(plan, "job-12_0.out", age_s=reconcile.PATIENCE_S + 5)
    assert WORDS in reconciled(plan)["a"].attempts[0].message


@pytest.mark.parametrize("text", ["a: not started, --max-failures", "a done, log x"])
def test_a_task_that_came_to_us_is_left_alone(plan, text):
    """It has said itself why the scene did not start."""
    printed(plan, "job-12_0.out", text, age_s=3600)
    assert reconciled(plan)["a"] is None


def test_queued_and_cancelled_are_left_alone(plan):
    """A task that is about to begin, and one that was told not to."""
    printed(plan, "job-12_0.out", age_s=3600)
    assert reconciled(plan, queued={"12_0"})["a"] is None
    plan.cancelled.parent.mkdir(parents=True)
    plan.cancelled.touch()
    assert reconciled(plan)["a"] is None


@pytest.mark.parametrize(
    ("fingerprint", "cause", "start"),
    [
        ("f", Cause.OK, CREATED - timedelta(days=1)),
        ("other", Cause.TRAINER_ERROR, CREATED - timedelta(days=1)),
        ("f", Cause.TRAINER_ERROR, CREATED + timedelta(seconds=1)),
    ],
)
def test_a_record_of_worth_is_not_written_over(plan, fingerprint, cause, start):
    """What is done, what was otherwise configured, and a start of this plan."""
    printed(plan, "job-12_0.out", age_s=3600)
    record = RunRecord(scene="a", exp_name="exp", fingerprint=fingerprint, status="running")
    record = record.started(Attempt(start=start, host="n1", pid=1)).ended(cause, 0, "")
    plan.scenes[0].output.mkdir(parents=True)
    write_record(plan.scenes[0].output, record)
    assert reconciled(plan)["a"] == record


def test_an_older_plans_jobs_are_no_news(tmp_path):
    """Since then the scene was submitted again."""
    old, new = make_plan(tmp_path, CREATED, "exp-1"), make_plan(tmp_path, CREATED, "exp-2")
    printed(old, "job-12_0.out", age_s=3600)
    assert reconciled(new, old)["a"] is None
