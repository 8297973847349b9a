"""Which jobs in the queue belong to an experiment, and which scenes they have."""

from __future__ import annotations

from datetime import timedelta

import pytest

from training.jobs.experiment_jobs import jobs_by_scene, jobs_of_experiment
from training.records.record import Attempt, Cause, RunRecord, write_record
from training.slurm.parsers import QueuedJob


def job(plan, stage, *more, job_id="12", task=None):
    """A pending job with the command line of a stage."""
    command = " ".join([str(plan.script), "--in-job", stage, str(plan.file), *more])
    return QueuedJob(
        job_id=job_id if task is None else f"{job_id}_{task}",
        raw_id=job_id,
        array_job_id=job_id,
        array_task_id=task,
        name="job",
        state="PENDING",
        reason="Priority",
        node="",
        elapsed_s=None,
        time_left_s=None,
        command=command,
    )


@pytest.fixture
def submitted(plan):
    """The plan, kept as a submission keeps it."""
    plan.file.parent.mkdir(parents=True)
    plan.file.write_text(plan.model_dump_json())
    return plan


def test_a_task_has_the_scene_at_offset_plus_index(submitted):
    """Of an array of a split plan, too; jobs of other commands are nobody's."""
    jobs = [job(submitted, "array", "1", task=1), job(submitted, "aggregate", job_id="13")]
    ours = jobs_of_experiment(jobs, submitted)
    assert [(each.stage, each.argument) for each in ours] == [("array", "1"), ("aggregate", "")]
    assert {name: each.job_id for name, each in jobs_by_scene(ours).items()} == {"c": "12_1"}


@pytest.mark.parametrize("argument", ["x", "", "7", "9" * 5000, "-1"])
def test_a_job_whose_command_names_no_scene_has_none(submitted, argument):
    """Somebody may have submitted it by hand, or Slurm cut its command off."""
    ours = jobs_of_experiment([job(submitted, "array", argument, task=1)], submitted)
    assert jobs_by_scene(ours) == {}


def test_a_flows_worker_has_the_scenes_that_have_not_ended_since_the_plan_was_made(submitted):
    """What ended before the plan is to run; what ended since is over; what is broken may run."""
    starts = {"a": submitted.created - timedelta(days=1), "b": submitted.created}
    for scene in submitted.scenes:
        if start := starts.get(scene.name):
            record = RunRecord(scene=scene.name, exp_name="exp", fingerprint="f", status="running")
            record = record.started(Attempt(start=start, host="n1", pid=1))
            write_record(scene.output, record.ended(Cause.OK, 0, ""))
        else:
            scene.output.mkdir(parents=True)
            (scene.output / "run.json").write_text("{")
    ours = jobs_of_experiment([job(submitted, "worker", "w1")], submitted)
    assert set(jobs_by_scene(ours)) == {"a", "c"}


def test_another_experiment_and_another_results_root_are_left_alone(submitted, tmp_path):
    """Though the job's command names a plan of ours."""
    queue = [job(submitted, "array", "0", task=0)]
    roots = submitted.roots.model_copy(update={"results_root": tmp_path / "other"})
    for changed in ({"exp_name": "exp2"}, {"roots": roots}):
        assert jobs_of_experiment(queue, submitted.model_copy(update=changed)) == []
