"""Which process has a plan's flow, whether it has died, and who has taken over from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
from page_lab import on_slurm, planned

from preprocess.faults import FaultsError
from training.jobs import flow_claim
from training.jobs.flow_claim import (
    FlowRunNote,
    flow_claimed,
    flow_has_died,
    flows_before,
    folder_of,
    note_flow_run,
    noted_flow_run,
    successor_of,
    wait_until_silent,
    with_dead_flows,
)
from training.records.claim import Holder
from training.system.processes import ProcessId, process_id

RUN = FlowRunNote(id="3f2a9c10-0000-4000-8000-000000000001", name="exp")


@pytest.fixture
def plans(tmp_path):
    """Three plans of one experiment, in their files, with ids in order of time."""
    made = [
        planned(tmp_path, "a").model_copy(update={"plan_id": f"exp-20260101T00000{n}.000000"})
        for n in range(3)
    ]
    made[0].file.parent.mkdir(parents=True)
    for plan in made:
        plan.file.write_text(plan.to_json())
    return made


def claim_as(plan, process, job_id="", silent_s=0.0):
    """Have another process claim a plan's flow, which was silent for so long."""
    folder = folder_of(plan) / ".claim"
    folder.mkdir(parents=True)
    holder = Holder(process, process, "2026-01-01T00:00:00+00:00", job_id, stale_after_s=STALE)
    path = folder / "000001.json"
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - silent_s,) * 2)
    return path


def dead_process():
    """Return a process of this host that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = process_id(child.pid)
    child.communicate()
    return found


STALE = flow_claim.STALE_AFTER_S
ELSEWHERE = ProcessId("another-host", "boot", 1, 1)


@pytest.mark.parametrize(
    ("job_id", "silent_s", "queued", "expected"),
    [
        ("", 30, (), False),
        ("", 45, (), True),
        ("7", 30, ("7",), False),
        ("7", 30, (), True),
        ("7", 10, (), False),
        ("7", 30, None, False),
    ],
    ids=[
        "unknown",
        "silent",
        "its job runs",
        "its job has ended",
        "its node may run it",
        "Slurm not asked",
    ],
)
def test_a_flow_on_another_machine_has_died_when_its_job_has_ended(
    plans, job_id, silent_s, queued, expected
):
    dead, other, _ = plans
    claim_as(dead, ELSEWHERE, job_id, silent_s)
    assert flow_has_died(dead, queued) is expected
    if expected:
        with flow_claimed(other.model_copy(update={"succeeds": (dead.plan_id,)})):
            assert successor_of(dead).plan_id == other.plan_id


def test_a_living_flow_is_not_waited_for_longer_than_to_its_next_sign_of_life(plans, monkeypatch):
    """It may have been lost with its machine: only its silence tells, so it is watched a little."""
    path = claim_as(plans[0], ELSEWHERE, silent_s=STALE - 5)
    waits = []

    def wait(_seconds):
        waits.append(1)
        if len(waits) == 3:
            os.utime(path)
        assert len(waits) < 10

    monkeypatch.setattr(flow_claim.time, "sleep", wait)
    wait_until_silent(plans[0], ())
    assert len(waits) == 3
    assert not flow_has_died(plans[0], ())


def test_a_flow_that_was_lost_with_its_machine_is_waited_for_until_it_counts_as_dead(
    plans, monkeypatch
):
    path = claim_as(plans[0], ELSEWHERE, silent_s=STALE - 5)
    monkeypatch.setattr(
        flow_claim.time, "sleep", lambda _: os.utime(path, (time.time() - STALE - 5,) * 2)
    )
    wait_until_silent(plans[0], ())
    assert flow_has_died(plans[0], ())


def test_a_flow_shows_that_it_lives_often_enough(plans):
    """Others read in its claim after how much silence it counts as dead."""
    with flow_claimed(plans[0]):
        (path,) = (folder_of(plans[0]) / ".claim").iterdir()
        assert json.loads(path.read_text())["stale_after_s"] == STALE
    assert flow_claim.HEARTBEAT_EVERY_S * 5 < STALE


def test_the_former_run_of_this_requeued_job_has_died(plans, monkeypatch):
    """Though Slurm's queue has the job: it is this one."""
    claim_as(plans[0], ELSEWHERE, "7", 30)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not flow_has_died(plans[0], {"7"})
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert flow_has_died(plans[0], {"7"})


def test_a_flow_lives_with_its_process_and_one_that_ended_in_good_order_has_not_died(plans):
    plan, killed, _ = plans
    with flow_claimed(plan):
        assert not flow_has_died(plan, ())
    assert not flow_has_died(plan, ())
    assert not folder_of(plan).exists()
    claim_as(killed, dead_process())
    assert flow_has_died(killed, ())


def test_who_takes_over_is_found_from_every_flow_before(plans):
    """As long as it lives; of two that come at once, one takes over."""
    first, second, third = plans
    claim_as(first, dead_process())
    assert successor_of(first) is None
    third = third.model_copy(update={"succeeds": (first.plan_id, second.plan_id)})
    second = second.model_copy(update={"succeeds": (first.plan_id,)})
    with flow_claimed(second):
        assert successor_of(first).plan_id == second.plan_id
        assert not flow_has_died(first, ())
        with pytest.raises(FaultsError, match="another flow"), flow_claimed(third):
            pass
    with flow_claimed(third):
        assert successor_of(first).plan_id == successor_of(second).plan_id == third.plan_id
    assert successor_of(first) is None


def test_a_flow_that_was_taken_for_dead_ends_at_once(plans, monkeypatch):
    """Two would each think that the jobs are theirs. A folder that is removed ends nothing."""
    ended = []
    monkeypatch.setattr(flow_claim.os, "_exit", ended.append)
    claim_as(plans[0], process_id(os.getpid()))
    claim = flow_claim.Claim(folder_of(plans[0]) / ".claim" / "000001.json")
    flow_claim._heartbeat(claim)
    assert not ended
    claim.path.rename(claim.path.with_name("000002.json"))
    flow_claim._heartbeat(claim)
    assert ended == [1]
    claim.path.with_name("000002.json").unlink()
    flow_claim._heartbeat(claim)
    assert ended == [1]


def test_flow_runs_of_earlier_flows_are_found_as_long_as_they_are_noted(plans):
    first, second, third = plans
    other = third.model_copy(update={"plan_id": "exp-20260101T000009.000000", "exp_name": "other"})
    other.file.write_text(other.to_json())
    for plan in (first, third, other):
        claim_as(plan, dead_process())
        note_flow_run(plan, RUN)
    assert [each.plan_id for each in flows_before(third)] == [first.plan_id]
    assert noted_flow_run(first) == RUN
    flow_claim.forget_flow_run(first)
    assert noted_flow_run(first) is None
    assert flows_before(second)[0].plan_id == third.plan_id


def test_a_flow_on_this_machine_succeeds_none_on_slurm(plans):
    """Whose scenes may train on, and whose workers could not join it."""
    first, second, third = plans
    second.file.write_text(on_slurm(second).to_json())
    for plan in (first, second):
        claim_as(plan, dead_process())
        note_flow_run(plan, RUN)
    assert with_dead_flows(third).succeeds == (first.plan_id,)
