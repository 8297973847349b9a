"""How the scenes of a flow run stand, by their records and the events of the run."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from page_lab import end, page_state_of, planned, record, started, states

from flows.run_page.content import RunFacts, table
from flows.run_page.page import rows_of
from flows.run_page.page_state import Ended
from training.records.claim import acquire
from training.records.outcome import Outcome
from training.records.record import Cause, now
from training.report.scene_rows import row_of


@pytest.fixture
def plan_of(tmp_path):
    """A plan with folders of its own."""
    return functools.partial(planned, tmp_path)


def test_failures_come_first_then_what_runs_then_what_waits_then_what_is_done(plan_of):
    """Scenes that were done before are shown too; within a group, the plan's order counts."""
    plan = plan_of("a", "b", "c", "d", "e", "f", e="skip", f="held")
    record(plan.scenes[4], before_plan=True)
    state = page_state_of(plan)
    for scene in plan.scenes[:3]:
        started(state, scene)
    end(state, plan.scenes[0], psnr=20.0)
    end(state, plan.scenes[1], Cause.TRAINER_ERROR)
    assert states(state) == [
        ("b", "failed"),
        ("c", "running"),
        ("d", "queued"),
        ("f", "not started"),
        ("a", "done"),
        ("e", "done"),
    ]


def test_a_scene_that_will_be_retried_is_queued_in_between(plan_of):
    """The event of the attempt's end says whether; the page decides nothing itself."""
    plan = plan_of("a")
    state = page_state_of(plan)
    started(state, plan.scenes[0])
    end(state, plan.scenes[0], Cause.NODE_FAILURE, will_retry=True)
    assert states(state) == [("a", "queued")]
    started(state, plan.scenes[0], 2)
    (running,) = state.rows(now())
    assert (running.state, len(running.attempts)) == ("running", 2)
    end(state, plan.scenes[0], Cause.NODE_FAILURE)
    assert states(state) == [("a", "failed")]


def test_at_the_end_nothing_runs_and_nothing_waits(plan_of):
    """What was never started is not what an older run left; what still ends was cancelled."""
    plan = plan_of("stopped", "old", "new", "ending")
    stopped, old, _, ending = plan.scenes
    record(old, before_plan=True)
    state = page_state_of(plan)
    plan.cancelled.parent.mkdir(parents=True)
    plan.cancelled.touch()
    for scene in (stopped, ending):
        started(state, scene)
    record(stopped, Cause.CANCELLED)
    record(ending, None)
    acquire(ending.output, os.getpid())
    state.update(rows_of(state.outdated))
    assert states(state, is_over=True) == [
        ("stopped", "cancelled"),
        ("ending", "cancelled"),
        ("old", "not started"),
        ("new", "not started"),
    ]


def test_a_lost_worker_is_a_failure_before_the_record_says_so(plan_of):
    """The record of a killed supervisor says running; nobody holds it."""
    plan = plan_of("a")
    state = page_state_of(plan)
    started(state, plan.scenes[0])
    record(plan.scenes[0], None)
    outcome = Outcome(
        scene="a", status="failed", cause=Cause.WORKER_LOST, message="it died", log=Path("l")
    )
    state.ended(Ended(plan.scenes[0], outcome), row_of("a", plan.scenes[0].output))
    (row,) = table(RunFacts.of(plan), state.rows(now()))
    assert (row["state"], row["cause"]) == ("failed", "worker_lost: it died")
