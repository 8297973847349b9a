"""`training/run.py --submit` on a real Slurm: faults in the queue and on the nodes."""

from __future__ import annotations

import os
from typing import Any

import pytest
from array_on_slurm import (
    GENERATE,
    is_ready,
    running,
    state,
    submit,
    submit_some,
    submitted,
    wait_ended,
)
from flow_on_slurm import script


def left(lab: Any) -> list[Any]:
    """Return the jobs and the processes that are still there."""
    return [*lab.slurm.squeue(), *lab.strays()]


def check_again(lab: Any, eventually: Any, *flags: str) -> None:
    """Assert that nothing is left, and that the same command submits no scene: it is done."""
    eventually(lambda: not left(lab), "nothing to be left")
    again = lab.run("--submit", *flags)
    assert again.returncode == 0, again.stderr
    assert ": skipped, done" in again.stdout
    assert "submitted: array job" not in again.stdout


def test_a_failing_aggregate_is_a_failed_job(array_lab, eventually):
    """The trainer's exit status is the job's; the job's log names it, and so does --status."""
    one = ("--scene-name-includes", "a_0")
    _, aggregate = submit_some(array_lab, *one, "--overrides", GENERATE, "do=fail_aggregate")
    assert wait_ended(array_lab, eventually, aggregate) == ["FAILED"]
    (log,) = (array_lab.root / "state" / "slurm").glob(f"*/exp_aggregate-{aggregate}.out")
    assert "aggregate of exp: exit status 1" in log.read_text()
    seen = array_lab.run("--status")
    assert seen.returncode == 1
    assert f"1 done\naggregate: failed (trainer_error), job {aggregate}, log " in seen.stdout


@pytest.mark.fault(
    "the job is cancelled by a person",
    way="slurm_array",
    ends="cancelled",
    attempts="cancelled",
    left="nothing",
    flow="cancelled",
    rerun="trains it",
    breakage="Slurm is not asked why a job ended",
)
def test_a_cancelled_task_is_cancelled_and_the_next_submission_trains_it(array_lab, eventually):
    """scancel of one task: its trainer gets its grace, Slurm names the cause, nothing is left."""
    overrides = ("--overrides", GENERATE, "do=zero_on_term", "only=a_1")
    array, aggregate = submit(array_lab, *overrides)
    eventually(lambda: is_ready(array_lab, "a_1"), "the trainer")
    array_lab.slurm.call("scancel", f"{array}_1")
    eventually(lambda: not left(array_lab), "nothing to be left")
    assert state(array_lab, aggregate) == "CANCELLED"
    last = array_lab.record("a_1")["attempts"][-1]
    assert (last["cause"], last["slurm_job_id"]) == ("worker_lost", f"{array}_1")
    assert f"told to end by Slurm (job {array}_1 on " in last["message"]
    again = array_lab.run("--submit", "--run-all", *overrides)
    assert again.returncode == 0, again.stderr
    assert array_lab.causes("a_1")[0] == "cancelled"
    assert "a_1: last: cancelled" in again.stdout
    array, _ = submitted(again.stdout)
    eventually(lambda: len(array_lab.starts("a_1")) == 2, "the second start")
    assert [job.job_id for job in running(array_lab)] == [f"{array}_0"]


def test_a_suspended_job_keeps_its_scene_and_gives_it_up_when_it_has_lost_it(
    array_lab, slurm, eventually
):
    """Silence is not death: its holder, on another host, is in a job that Slurm says is suspended.

    Taken over all the same (Slurm was wrong, say), the job that is resumed writes nothing.
    """
    elsewhere = "exec unshare --uts sh -c 'hostname elsewhere && exec python \"$@\"' python"
    one = ("--scene-name-includes", "a_0", "--overrides", "do=wait")
    (array,) = submit_some(array_lab, *one, *script(array_lab, start=elsewhere))
    eventually(lambda: is_ready(array_lab, "a_0"), "the trainer")
    slurm.call("scontrol", "suspend", array)
    record = (array_lab.output("a_0") / "run.json").read_bytes()
    (claim,) = (array_lab.output("a_0") / ".claim").glob("*.json")
    os.utime(claim, (0, 0))
    second = array_lab.run(*one)
    assert f"its job is suspended: `scancel {array}_0` ends it" in second.stdout, second.stdout
    claim.with_name("000009.json").write_bytes(claim.read_bytes())
    slurm.call("scontrol", "resume", array)
    assert wait_ended(array_lab, eventually, array) == ["FAILED"]
    assert (array_lab.output("a_0") / "run.json").read_bytes() == record
    assert len(array_lab.starts("a_0")) == 1
    assert not (array_lab.output("a_0") / "metrics.json").exists()
    (log,) = (array_lab.root / "state" / "slurm").glob(f"*/exp-{array}_0.out")
    assert "another one took it over meanwhile" in log.read_text()


@pytest.mark.fault(
    "the node is lost",
    way="slurm_array",
    ends="done",
    attempts="node_failure, ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="Slurm is not asked why a job ended",
)
def test_a_scene_of_a_killed_node_is_trained_once_more(array_lab, eventually):
    """Slurm requeues it; the attempt on the dead node is a node_failure, the next one resumes.

    The aggregate still follows.
    """
    flags = ("--scene-name-includes", "a_2", "--overrides", GENERATE, "do=resume")
    array, aggregate = submit_some(array_lab, *flags)
    eventually(lambda: is_ready(array_lab, "a_2"), "the trainer")
    array_lab.slurm.crash_node(array_lab.slurm.job(f"{array}_0")["NodeList"])
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    assert array_lab.causes("a_2") == ["node_failure", "ok"]
    assert len(array_lab.starts("a_2")) == 2
    assert {a["slurm_job_id"] for a in array_lab.record("a_2")["attempts"]} == {f"{array}_0"}
    check_again(array_lab, eventually, *flags)


@pytest.mark.fault(
    "the job is out of walltime",
    way="slurm_array",
    ends="done",
    attempts="timeout, ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="nothing is tried again",
)
def test_a_timeout_with_a_checkpoint_resumes_in_the_next_run_of_the_job(array_lab, eventually):
    """Our deadline comes before Slurm's: the record says timeout, and the task is requeued."""
    flags = ("--slurm.time", "0:08", "--scene-name-includes", "a_0", "--overrides", "do=resume")
    (array,) = submit_some(array_lab, *flags)
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    assert array_lab.causes("a_0") == ["timeout", "ok"]
    assert array_lab.slurm.job(f"{array}_0")["Restarts"] == "1"
    check_again(array_lab, eventually, *flags)


def test_a_task_that_is_requeued_after_its_last_attempt_starts_nothing(array_lab, eventually):
    """--max-retries counts the attempts of all runs of the job."""
    flags = ("--scene-name-includes", "a_0", "--max-retries", "0")
    (array,) = submit_some(array_lab, *flags, "--overrides", "do=hang")
    eventually(lambda: is_ready(array_lab, "a_0"), "the trainer")
    array_lab.slurm.call("scontrol", "requeue", f"{array}_0")
    assert wait_ended(array_lab, eventually, array) == ["FAILED"]
    assert len(array_lab.starts("a_0")) == 1
    (log,) = (array_lab.root / "state" / "slurm").glob(f"*/exp-{array}_0.out")
    assert "started 1 times already (--max-retries)" in log.read_text()


def test_usr1_from_slurm_reaches_the_trainer(array_lab, eventually):
    """The script runs Python by `exec`: it gets the batch shell's signals and forwards them."""
    one = ("--scene-name-includes", "a_0")
    (array,) = submit_some(array_lab, *one, "--overrides", "do=usr1")
    eventually(lambda: is_ready(array_lab, "a_0"), "the trainer")
    array_lab.slurm.call("scancel", "--batch", "--signal=USR1", f"{array}_0")
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    assert (array_lab.output("a_0") / "usr1.txt").exists()


def test_what_slurm_refuses_is_reported_before_anything_is_created(array_lab):
    """An unknown partition: Slurm's message and the line of the script, exit status 2."""
    script = array_lab.root / "site.slurm"
    script.write_text('#!/bin/bash\n#SBATCH --time=10 -p nope\nexec python training/run.py "$@"\n')
    result = array_lab.run("--submit", "--run-all", "--slurm.slurm-script", str(script))
    assert result.returncode == 2
    assert "invalid partition specified: nope" in result.stderr
    assert f"{script}:2" in result.stderr
    assert not (array_lab.root / "state").exists()
    assert not array_lab.slurm.squeue()


def test_more_than_a_node_has_is_refused_before_it_is_queued(array_lab):
    """--gres=gpu:9: no node has as many."""
    script = array_lab.root / "site.slurm"
    script.write_text(
        '#!/bin/bash\n#SBATCH --time=10 --gres=gpu:9\nexec python training/run.py "$@"\n'
    )
    result = array_lab.run("--submit", "--run-all", "--slurm.slurm-script", str(script))
    assert result.returncode == 2
    assert "Requested node configuration is not available" in result.stderr
    assert not array_lab.slurm.squeue()
    # A copy of the sources belongs to no plan: the next launch uses it, or removes it later.
    left = {path for path in (array_lab.root / "state").rglob("*") if path.is_file()}
    assert not left - set((array_lab.root / "state" / "snapshots").rglob("*"))


def test_max_failures_keeps_further_tasks_from_starting(array_lab, eventually):
    """Once so many scenes have failed, tasks that still wait end without an attempt."""
    flags = ("--slurm.array-parallelism", "1", "--max-failures", "1")
    (array,) = submit(array_lab, *flags, "--overrides", "do=fail")
    eventually(lambda: not array_lab.slurm.squeue(), "an empty queue")
    assert sum(len(array_lab.starts(f"a_{number}")) for number in range(3)) == 1
    (log,) = (array_lab.root / "state" / "slurm").glob(f"*/exp-{array}_2.out")
    assert "1 scene failed (--max-failures)" in log.read_text()


@pytest.mark.fault(
    "the job is preempted",
    way="slurm_array",
    ends="done",
    attempts="preempted, ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="Slurm is not asked why a job ended",
)
def test_a_preempted_task_is_requeued_by_slurm_and_resumes(array_lab, eventually):
    """A more urgent job takes its node; the cause is Slurm's, the scene ends as done."""
    one = ("--scene-name-includes", "a_0", "--overrides", "do=resume")
    (array,) = submit_some(array_lab, *one)
    eventually(lambda: is_ready(array_lab, "a_0"), "the trainer")
    urgent = array_lab.slurm.preempt(f"{array}_0")
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    array_lab.slurm.call("scancel", urgent)
    assert array_lab.causes("a_0") == ["preempted", "ok"]
    assert (array_lab.output("a_0") / "resumed.txt").exists()
    check_again(array_lab, eventually, *one)
