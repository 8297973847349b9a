"""How an experiment's aggregate stands: by its record, by the queue, by Slurm's answer."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from page_lab import planned, record

from training.cli.status_table import render_all
from training.jobs import aggregate_status, status
from training.jobs.aggregate_status import WAITING, aggregate_state, reconcile_aggregate
from training.jobs.experiment_jobs import StageJob
from training.plan.aggregate_state import AggregateState, recorded_aggregate
from training.plan.experiments import Experiment, find_experiment
from training.plan.model import AggregatePlan
from training.records.aggregate_record import (
    AGGREGATE_RECORD,
    AggregateRecord,
    read_aggregate,
    write_aggregate,
)
from training.records.claim import claimed
from training.records.record import Cause, RecordError
from training.records.scene_state import KILLED, UNREADABLE, SceneState
from training.slurm.job_states import JobEnd
from training.slurm.parsers import QueuedJob

LATER = timedelta(minutes=5)


@pytest.fixture
def plan(tmp_path):
    """A plan of two done scenes whose outputs are to be merged."""
    return planned_merge(tmp_path, "a", "b")


def planned_merge(folder, *names, **update):
    made = planned(folder, *names)
    stage = AggregatePlan(
        command=("python", "merge.py"),
        log=made.roots.experiment_folder("exp") / "aggregate.log",
        job_name="exp_aggregate",
        time_limit_s=60,
    )
    plan = made.model_copy(update={"aggregate": stage, **update})
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    for scene in plan.scenes:
        record(scene)
    return plan


def folder_of(plan):
    return plan.roots.experiment_folder("exp")


def write(plan, status, cause=None, **update):
    """Write the record of this plan's aggregate."""
    made = AggregateRecord(
        exp_name="exp",
        plan_id=plan.plan_id,
        scenes=tuple(scene.name for scene in plan.scenes),
        status=status,
        cause=cause,
        start=plan.created + LATER,
        slurm_job_id="12",
        log=plan.aggregate.log,
    )
    write_aggregate(folder_of(plan), made.model_copy(update=update))


def state_of(*plans, jobs=(), at_work=(), scenes=None):
    scenes = scenes or [SceneState(each.name, "done", each.log) for each in plans[0].scenes]
    return aggregate_state(plans, jobs, scenes, at_work=at_work)


def job(stage, state="PENDING", reason="Dependency"):
    queued = QueuedJob("12", "12", "12", None, "x", state, reason, "", 0, 0, "")
    return StageJob(queued, stage, None, "")


def test_where_nothing_is_merged_there_is_no_aggregate(plan):
    """A summary needs no job; --no-auto-schedule-aggregate asks for none."""
    stage = plan.aggregate.model_copy(update={"command": ()})
    assert state_of(plan.model_copy(update={"aggregate": stage})) is None
    assert state_of(plan.model_copy(update={"aggregate": None})) is None
    assert aggregate_state([], [], [], at_work=()) is None


@pytest.mark.parametrize(
    ("status", "cause", "text"),
    [
        ("done", Cause.OK, "done, job 12"),
        ("failed", Cause.TIMEOUT, "failed (timeout), job 12: why"),
        ("cancelled", Cause.CANCELLED, "cancelled, job 12: why"),
        ("not started", None, "not started, job 12: why"),
    ],
)
def test_the_record_says_state_cause_and_job(plan, status, cause, text):
    """The log is named where there is one."""
    write(plan, status, cause, message="" if status == "done" else "why")
    assert str(state_of(plan)) == text
    plan.aggregate.log.touch()
    assert f"job 12, log {plan.aggregate.log}" in str(state_of(plan))


def test_a_record_that_says_running_is_believed_while_its_claim_is_held(plan):
    """Else the aggregate was killed."""
    write(plan, "running")
    with claimed(folder_of(plan), os.getpid()):
        assert state_of(plan).state == "running"
    assert (state_of(plan).state, state_of(plan).cause) == ("failed", KILLED)


def test_a_record_that_cannot_be_read_is_a_failure(plan):
    """Unknown is never success."""
    folder_of(plan).mkdir(parents=True)
    (folder_of(plan) / AGGREGATE_RECORD).write_text("{")
    assert (state_of(plan).state, state_of(plan).cause) == ("failed", UNREADABLE)
    with pytest.raises(RecordError, match="move it away"):
        read_aggregate(folder_of(plan))


def test_what_was_merged_before_the_newest_plan_does_not_count(tmp_path, plan):
    """Its scenes may have been made again; a later one of all its scenes counts, whoever ran it."""
    newer = planned_merge(tmp_path, "a", plan_id="q", created=plan.created + 2 * LATER)
    write(plan, "done", Cause.OK)
    assert state_of(newer, plan).state == "not started"
    write(plan, "done", Cause.OK, start=newer.created + LATER)
    assert state_of(newer, plan).state == "done"
    wider = planned_merge(tmp_path, "a", "b", "c", plan_id="q", created=newer.created)
    assert state_of(wider, plan).state == "not started"


def test_a_queued_job_is_shown_with_what_it_waits_for(plan):
    """The queue comes before a record that is left of an earlier run."""
    write(plan, "failed", Cause.TRAINER_ERROR, message="why")
    assert (
        str(state_of(plan, jobs=[job("array"), job("aggregate")])) == "queued (Dependency), job 12"
    )
    running = state_of(plan, jobs=[job("aggregate", "RUNNING")])
    assert (running.state, running.message) == ("running", "")


def test_a_job_that_can_never_start_is_told_and_not_waited_for(plan):
    """Slurm leaves it in the queue where somebody has changed what it depends on."""
    stuck = job("aggregate", reason="DependencyNeverSatisfied")
    assert stuck.job.can_never_start
    assert not job("aggregate").job.can_never_start
    found = state_of(plan, jobs=[stuck])
    assert found.state == "not started"
    assert str(found).startswith("not started (DependencyNeverSatisfied), job 12: it never starts")


def test_it_waits_while_its_launcher_or_flow_works(plan):
    """Once that has ended, it was not started, and why is said."""
    assert state_of(plan, at_work={plan.plan_id}).cause == WAITING
    scenes = [SceneState("a", "done", plan.file), SceneState("b", "failed", plan.file)]
    assert str(state_of(plan, scenes=scenes)) == "not started: 1 of 2 scenes are not done: b"
    plan.aggregate_job.write_text("12\n")
    ended = state_of(plan, scenes=scenes)
    assert ended.message == "its job 12 is gone; 1 of 2 scenes are not done: b"


def test_a_cancelled_experiment_has_a_cancelled_aggregate(plan):
    """Where it had not begun."""
    plan.cancelled.touch()
    assert state_of(plan).state == "cancelled"


@pytest.fixture
def slurm_says(plan, monkeypatch):
    """Have Slurm say how job 12, which was submitted for the aggregate, ended."""
    plan.aggregate_job.write_text("12\n")
    asked = []

    def install(state, **more):
        def job_ends(job_ids):
            asked.append(job_ids)
            return {"12": JobEnd("12", state, **more)} if state else {}

        monkeypatch.setattr(aggregate_status.client, "job_ends", job_ends)
        return asked

    return install


def test_a_dependency_that_was_never_satisfied_is_recorded(plan, slurm_says):
    """Slurm cancels the job then; it is asked once, and forgets soon."""
    record(plan.scenes[1], Cause.TRAINER_ERROR)
    asked = slurm_says("CANCELLED")
    reconcile_aggregate([plan], queued=())
    reconcile_aggregate([plan], queued=())
    assert asked == [{"12"}]
    state = recorded_aggregate([plan])
    assert state.state == "not started"
    assert "job 12 was cancelled: it was to follow scenes" in state.message
    assert "1 of 2 scenes are not done: b" in state.message


def test_an_older_job_with_the_same_id_is_not_the_aggregates(plan, slurm_says):
    """It ended before the plan was made."""
    slurm_says("FAILED", end=plan.created - timedelta(hours=1))
    reconcile_aggregate([plan], queued=())
    assert read_aggregate(folder_of(plan)) is None


def test_a_job_that_ended_before_our_code_ran_is_a_failure_with_its_last_words(plan, slurm_says):
    """A module that is not there."""
    plan.job_logs.mkdir(parents=True)
    (plan.job_logs / "exp_aggregate-12.out").write_text("module: no such thing\n")
    slurm_says("FAILED", exit_code=127, node="n1")
    reconcile_aggregate([plan], queued=())
    said = read_aggregate(folder_of(plan))
    assert (said.status, said.cause, said.host) == ("failed", Cause.WORKER_LOST, "n1")
    assert said.message.endswith("(exit status 127) before it began: module: no such thing")


@pytest.mark.parametrize(
    ("state", "status", "cause"),
    [
        ("NODE_FAIL", "failed", Cause.NODE_FAILURE),
        ("TIMEOUT", "failed", Cause.TIMEOUT),
        ("CANCELLED", "cancelled", Cause.CANCELLED),
    ],
)
def test_an_aggregate_that_was_killed_gets_slurms_cause(plan, slurm_says, state, status, cause):
    """It keeps its start; its end is the job's."""
    write(plan, "running")
    end = datetime(2030, 1, 1, tzinfo=UTC)
    slurm_says(state, end=end)
    reconcile_aggregate([plan], queued=())
    said = read_aggregate(folder_of(plan))
    assert (said.status, said.cause, said.end) == (status, cause, end)
    assert said.start == plan.created + LATER


def test_slurm_is_not_asked_where_nothing_is_to_be_found_out(plan, slurm_says):
    """Of a job in the queue, of an aggregate with a recorded end, of an experiment without one."""
    asked = slurm_says("CANCELLED")
    reconcile_aggregate([plan], queued={"12"})
    write(plan, "done", Cause.OK)
    reconcile_aggregate([plan], queued=())
    reconcile_aggregate([], queued=())
    assert not asked


def test_what_slurm_does_not_know_stays_open(plan, slurm_says):
    """Nothing is written."""
    slurm_says("")
    reconcile_aggregate([plan], queued=())
    assert read_aggregate(folder_of(plan)) is None


@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "not started", "queued"])
def test_an_aggregate_that_is_not_done_keeps_its_experiment_from_being_done(plan, state):
    """So --status ends with 1, and with 3 while it is to come."""
    seen = status.Snapshot(
        Experiment("exp", plan.roots, ()),
        (SceneState("a", "done", plan.file),),
        status.Queue(),
        (),
        1,
        AggregateState(state, plan.aggregate.log),
    )
    assert seen.is_done is (state == "done")
    assert seen.is_active is (state == "queued")


def test_status_shows_training_and_generation_apart_and_where_the_data_is(tmp_path):
    """Each with its own scenes; a scene that is only trained is not in the second table."""
    trained = planned_merge(tmp_path, "a", "b", plan_id="exp-20260101T000000.000001")
    scene = trained.scenes[0]
    scene = scene.model_copy(update={"output": scene.output / "difix_data"})
    update = {"plan_id": "exp-20260102T000000.000001", "output_subdir": "difix_data"}
    made = planned_merge(tmp_path, "a", **update, scenes=(scene,))
    trained = trained.model_copy(update={"aggregate": None})
    for plan in (trained, made):
        plan.file.write_text(plan.to_json())
    write(made, "done", Cause.OK, plan_id=made.plan_id)
    data = folder_of(made) / "difix_data" / "difix" / "data.json"
    data.parent.mkdir(parents=True)
    data.touch()
    kinds = find_experiment("exp", made.roots).kinds
    first, second = render_all([status.take_snapshot(each) for each in kinds]).split("\n\ngen")
    assert first.startswith("training\n")
    assert "experiment exp, 2 scenes: 2 done" in first
    assert second.startswith("erating DiFix data\n")
    assert "experiment exp, 1 scene: 1 done\naggregate: done" in second
    assert f"data: {data}" in second
