"""An aggregate that is not run, or fails, says why and ends with exit status 1."""

from __future__ import annotations

import os
import pickle
import sys

import pytest
from page_lab import planned, record

from training.execution.merge import AggregateError
from training.jobs.aggregate_task import aggregate, aggregate_in_process, aggregate_with_retries
from training.plan.model import AggregatePlan, Plan
from training.records.aggregate_record import AggregateRecord, read_aggregate
from training.records.claim import claimed
from training.records.record import Cause
from training.system.stop_request import StopRequest


@pytest.fixture
def plan_with(tmp_path):
    """`plan_with("sys.exit(3)")`: a saved plan of one done scene, and that as its aggregate."""

    def plan_with(program: str = "", cause: Cause = Cause.OK, time_limit_s: int = 60) -> Plan:
        made = planned(tmp_path, "a")
        folder = made.roots.experiment_folder("exp")
        folder.mkdir(parents=True)
        command = (sys.executable, "-c", f"import sys, time; {program}") if program else ()
        stage = AggregatePlan(
            command=command,
            log=folder / "aggregate.log",
            job_name="exp_aggregate",
            time_limit_s=time_limit_s,
        )
        update = {"aggregate": stage, "plan_id": "exp-20260101T000000.000000"}
        plan = made.model_copy(update=update)
        plan.file.parent.mkdir(parents=True)
        plan.file.write_text(plan.model_dump_json())
        record(plan.scenes[0], cause)
        return plan

    return plan_with


def recorded(plan: Plan) -> AggregateRecord:
    """Return the aggregate's record."""
    found = read_aggregate(plan.roots.experiment_folder("exp"))
    assert found is not None
    return found


def report(plan: Plan) -> str:
    return (plan.roots.experiment_folder("exp") / "report.md").read_text()


def test_a_merge_that_succeeds_is_followed_by_the_report(plan_with):
    """In a process of its own; record and report say so."""
    plan = plan_with("print('merged')")
    aggregate_in_process(plan, StopRequest())
    assert "merged" in plan.aggregate.log.read_text()
    made = recorded(plan)
    assert (made.status, made.cause, made.plan_id) == ("done", Cause.OK, plan.plan_id)
    assert made.scenes == ("a",)
    assert made.log == plan.aggregate.log
    assert "- aggregate: done" in report(plan)
    assert "Not done" not in report(plan)


@pytest.mark.parametrize(
    ("program", "words", "cause"),
    [
        ("sys.exit('no shard')", "exit status 1: no shard", Cause.TRAINER_ERROR),
        ("sys.exit(3)", "exit status 3: no output", Cause.TRAINER_ERROR),
        ("print('unknown key'); sys.exit(2)", "unknown key", Cause.CONFIG),
        ("raise MemoryError", "MemoryError", Cause.OUT_OF_MEMORY),
    ],
)
def test_a_merge_that_fails_is_an_error_with_status_last_words_and_log(
    plan_with, program, words, cause
):
    """Record and report say the same, with the cause."""
    plan = plan_with(program)
    with pytest.raises(AggregateError) as raised:
        aggregate_in_process(plan, StopRequest())
    assert words in str(raised.value)
    assert str(plan.aggregate.log) in str(raised.value)
    assert (recorded(plan).status, recorded(plan).cause) == ("failed", cause)
    assert words in recorded(plan).message
    assert f"failed ({cause})" in report(plan)


def test_a_merge_that_exceeds_its_time_limit_is_stopped(plan_with):
    """A little before Slurm would end its job; the message names the flag."""
    plan = plan_with("time.sleep(600)", time_limit_s=2)
    with pytest.raises(AggregateError, match=r"time limit \(--aggregate-time\)"):
        aggregate_in_process(plan, StopRequest())
    assert recorded(plan).cause is Cause.TIMEOUT


def test_a_request_to_stop_is_passed_on(plan_with):
    stop = StopRequest()
    stop.request()
    with pytest.raises(AggregateError, match="told to end"):
        aggregate_in_process(plan_with("time.sleep(600)"), stop)


@pytest.mark.parametrize("max_retries", [0, 1])
def test_an_aggregate_whose_process_is_killed_starts_again_like_a_scene(
    plan_with, tmp_path, max_retries
):
    """The claim and the record of the first are inherited; without retries the error says how."""
    once = f"import os, pathlib; flag = pathlib.Path({str(tmp_path / 'flag')!r})"
    kill = "first = not flag.exists(); flag.touch(); first and os.kill(os.getppid(), 9)"
    plan = plan_with(f"{once}; {kill}").model_copy(update={"max_retries": max_retries})
    if max_retries:
        aggregate_with_retries(plan, StopRequest())
        assert (recorded(plan).status, recorded(plan).cause) == ("done", Cause.OK)
        return
    with pytest.raises(AggregateError, match="its process was ended by SIGKILL") as raised:
        aggregate_with_retries(plan, StopRequest())
    assert pickle.loads(pickle.dumps(raised.value)).cause is Cause.WORKER_LOST


@pytest.mark.parametrize(("restarts", "own_job"), [("0", "12"), ("1", "12"), ("1", "13")])
def test_a_job_that_slurm_requeues_again_and_again_starts_as_often_as_a_scene(
    plan_with, monkeypatch, restarts, own_job
):
    """In a controller's job, which is requeued without end, an aggregate is another matter."""
    plan = plan_with("print('merged')")
    plan.aggregate_job.write_text("12\n")
    monkeypatch.setenv("SLURM_JOB_ID", own_job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    if (restarts, own_job) != ("1", "12"):
        aggregate_in_process(plan, StopRequest())
        return
    with pytest.raises(AggregateError, match="started 1 time already"):
        aggregate_in_process(plan, StopRequest())
    assert not plan.aggregate.log.exists()


def test_a_command_that_is_not_there_is_an_error(plan_with):
    plan = plan_with()
    stage = plan.aggregate.model_copy(update={"command": ("/no/such/command",)})
    plan = plan.model_copy(update={"aggregate": stage})
    plan.file.write_text(plan.model_dump_json())
    with pytest.raises(AggregateError, match=r"it can't be started: .*No such file"):
        aggregate_in_process(plan, StopRequest())


def test_scenes_that_are_not_done_are_named_and_nothing_is_merged(plan_with):
    """The records decide, whatever a job's dependency says."""
    plan = plan_with("print('merged')", Cause.TRAINER_ERROR)
    with pytest.raises(AggregateError, match="1 of 1 scene is not done: a"):
        aggregate(plan)
    assert not plan.aggregate.log.exists()
    assert recorded(plan).status == "not started"


def test_a_plan_that_cannot_be_read_is_one_line(plan_with):
    """As a Slurm job, whose log it is in."""
    plan = plan_with()
    plan.file.write_text("{")
    with pytest.raises(AggregateError) as raised:
        aggregate_in_process(plan, StopRequest())
    assert str(raised.value).startswith(f"aggregate: {plan.file} can't be read")
    assert "Traceback" not in str(raised.value)


def test_a_cancelled_experiment_is_not_aggregated(plan_with):
    plan = plan_with("print('merged')")
    plan.cancelled.touch()
    with pytest.raises(AggregateError, match="the experiment was cancelled"):
        aggregate(plan)
    assert recorded(plan).status == "cancelled"


def test_another_aggregate_of_the_experiment_goes_first(plan_with):
    """This one waits as long as its own limit, and then names the holder."""
    plan = plan_with("print('merged')", time_limit_s=2)
    folder = plan.roots.experiment_folder("exp")
    with (
        claimed(folder, os.getpid()),
        pytest.raises(AggregateError, match=f"another aggregate runs: process {os.getpid()}"),
    ):
        aggregate_in_process(plan, StopRequest())
