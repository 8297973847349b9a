"""What one task of an array decides from the record and the marks beside its plan."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from preprocess.faults import Fault, FaultsError
from training.jobs import array_task
from training.plan.model import LoopStage
from training.plan.scene_decision import is_done
from training.records.outcome import Outcome
from training.records.record import Attempt, Cause, RecordError, RunRecord, write_record

BEFORE, SINCE = timedelta(days=-1), timedelta(seconds=5)


def give_record(plan, *starts, cause=Cause.TIMEOUT):
    """Write the first scene's record with attempts at these times after the plan was made."""
    scene = plan.scenes[0]
    record = RunRecord(scene=scene.name, exp_name="exp", fingerprint="f", status="running")
    for start in starts:
        record = record.started(Attempt(start=plan.created + start, host="n1", pid=1))
        record = record.ended(cause, 1, "")
    write_record(scene.output, record)
    return scene


@pytest.mark.parametrize(
    ("starts", "max_retries", "reason"),
    [
        ((), 0, ""),
        ((BEFORE, BEFORE), 0, ""),
        ((BEFORE, SINCE), 0, "started 1 times already (--max-retries)"),
        ((BEFORE, SINCE), 1, ""),
        ((SINCE, SINCE), 1, "started 2 times already (--max-retries)"),
    ],
)
def test_slurm_requeues_a_task_no_more_often_than_the_user_allows(
    plan, starts, max_retries, reason
):
    """Attempts since the plan was made count, in whichever job; older ones don't."""
    plan = plan.model_copy(update={"max_retries": max_retries})
    scene = give_record(plan, *starts)
    assert array_task._reason_not_to_start(plan, scene) == reason


@pytest.mark.parametrize(
    ("mark", "reason"),
    [("cancelled", "the experiment was cancelled"), ("enough", "failed (--max-failures)")],
)
def test_a_mark_beside_the_plan_keeps_a_task_from_starting(plan, mark, reason):
    """Left by --cancel, or by the task whose failure reached --max-failures."""
    plan.file.parent.mkdir(parents=True)
    plan.file.with_suffix(f".{mark}").touch()
    assert reason in array_task._reason_not_to_start(plan, plan.scenes[0])


@pytest.mark.parametrize(
    ("compiling_s", "restarts", "slurm_refuses", "told"),
    [
        (29, "0", False, ["started"]),
        (300, "0", False, ["requeued"]),
        (300, "1", False, ["started"]),
        (300, "0", True, ["requeued", "started"]),
    ],
)
def test_a_job_whose_time_went_to_compiling_is_requeued_once(  # noqa: PLR0917 - a case
    plan, monkeypatch, compiling_s, restarts, slurm_refuses, told
):
    """A scene gets its whole time; where Slurm refuses to requeue, it starts all the same."""
    seen, clock = [], iter([0, compiling_s])

    def requeue(_):
        seen.append("requeued")
        if slurm_refuses:
            raise array_task.client.SlurmError("no")

    def run(*_):
        seen.append("started")
        return Outcome(scene="a", status="done", log=plan.scenes[0].log)

    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    monkeypatch.setattr(array_task.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(array_task.client, "requeue", requeue)
    monkeypatch.setattr(array_task.signal, "sigtimedwait", lambda *_: None)
    own = plan.model_copy(update={"scenes": plan.scenes[:1]})
    monkeypatch.setattr(array_task, "read_scene_to_run", lambda *_: own)
    monkeypatch.setattr(array_task, "slurm_of", lambda _: SimpleNamespace(time_s=600))
    monkeypatch.setattr(array_task, "_run_with_retries", run)
    for name in ("block_signals", "reconcile_previous_run", "compile_rasterizer", "_prepare_gpu"):
        monkeypatch.setattr(array_task, name, lambda *_: None)
    status = array_task.main(["plan.json", "0"])
    assert (seen, status) == (told, 0 if "started" in told else 1)


def test_a_stage_of_a_loop_starts_nothing_unless_what_it_uses_is_done(plan):
    """Slurm takes a job that it has forgotten for one that succeeded: the record decides."""
    stage = LoopStage(name="refined", after=("refiner",), loop="exp")
    plan = plan.model_copy(update={"stage": stage})
    used = give_record(plan, SINCE)
    scene = plan.scenes[1].model_copy(update={"made_from": (used.output,)})
    reason = array_task._reason_not_to_start(plan, scene)
    assert reason == f"{used.output} is not done, which stage refiner makes"
    give_record(plan, SINCE, cause=Cause.OK)
    assert array_task._reason_not_to_start(plan, scene) == ""
    (used.output / "run.json").write_text("{")
    assert "not done" in array_task._reason_not_to_start(plan, scene)


def test_a_fingerprint_is_of_what_is_used_as_it_is_then(plan):
    """A scene is planned before what it uses is made; made again, the scene is out of date."""
    used, scene = plan.scenes[0], plan.scenes[1]
    scene = scene.model_copy(update={"made_from": (used.output,)})
    assert scene.current_fingerprint == scene.fingerprint
    give_record(plan, SINCE, cause=Cause.OK)
    once = scene.current_fingerprint
    assert once != scene.fingerprint
    assert scene.current_fingerprint == once
    give_record(plan, SINCE, SINCE, cause=Cause.OK)
    assert scene.current_fingerprint != once
    assert not scene.is_configuration_of(once)


def test_what_uses_weights_that_can_not_be_read_is_not_done(plan, monkeypatch):
    """Another user's refiner: unknown is never success, and no traceback."""

    def refuse(path):
        raise FaultsError([Fault("a file of the configuration can't be read", str(path))])

    scene = plan.scenes[1].model_copy(update={"made_from": (plan.scenes[0].output,)})
    give_record(plan.model_copy(update={"scenes": (scene,)}), SINCE, cause=Cause.OK)
    assert is_done(scene)
    plan.scenes[0].output.mkdir(parents=True)
    (plan.scenes[0].output / "model.pt").touch()
    monkeypatch.setattr("training.configuration.fingerprint.content_hash", refuse)
    assert not is_done(scene)
    with pytest.raises(RecordError, match=r"model\.pt"):
        _ = scene.current_fingerprint


def test_failures_since_the_plan_was_made_are_counted(plan):
    """The mark is left once there are --max-failures; an unreadable record is a failure."""
    plan = plan.model_copy(update={"max_failures": 2})
    plan.file.parent.mkdir(parents=True)
    give_record(plan, BEFORE)
    (plan.scenes[1].output).mkdir(parents=True)
    (plan.scenes[1].output / "run.json").write_text("{")
    array_task._mark_enough_failures(plan)
    assert not plan.enough_failures.exists()
    give_record(plan, BEFORE, SINCE)
    array_task._mark_enough_failures(plan)
    assert plan.enough_failures.exists()


@pytest.mark.parametrize(
    ("cause", "has_checkpoint", "again"),
    [
        (Cause.TIMEOUT, True, True),
        (Cause.TIMEOUT, False, False),
        (Cause.TRAINER_ERROR, True, False),
        (Cause.PREEMPTED, True, False),
        (None, False, False),
    ],
)
def test_a_task_starts_its_scene_again_only_after_a_timeout(plan, cause, has_checkpoint, again):
    """Where Slurm takes the node away, Slurm requeues the task."""
    plan = plan.model_copy(update={"max_retries": 1})
    scene = give_record(plan, SINCE)
    status = "held" if cause is None else "failed"
    outcome = Outcome(
        scene=scene.name, status=status, cause=cause, log=scene.log, has_checkpoint=has_checkpoint
    )
    assert array_task._should_retry_here(plan, scene, outcome) is again


def test_a_task_whose_plan_is_damaged_says_so(plan, monkeypatch, capsys):
    """In one line, in the job's own log."""
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setattr(array_task, "block_signals", lambda: None)
    plan.file.parent.mkdir(parents=True)
    plan.file.write_text("{")
    assert array_task.main([str(plan.file), "0"]) == 1
    assert f"{plan.file} can't be read" in capsys.readouterr().out
