"""How a flow in a job of its own stands, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from stat import S_IMODE

import pytest

from training.jobs.controller_status import controller_state, reconcile_controller
from training.jobs.current_plan import held_by_controller, hold_queued
from training.jobs.experiment_jobs import controller_of, is_superseded, jobs_by_scene
from training.plan.model import LoopStage
from training.records.controller_record import (
    ControllerRecord,
    controller_file,
    note_controller_job,
    read_controller,
    write_controller,
)
from training.slurm import client
from training.slurm.job_states import JobEnd
from training.slurm.parsers import QueuedJob


@pytest.fixture
def submitted(plan):
    """A plan whose controller is job 12."""
    write_controller(plan.file, ControllerRecord(plans=(plan.plan_id,), options={}))
    note_controller_job(plan.file, "12")
    plan.file.write_text(plan.to_json())
    return plan


def queued(plan, state="RUNNING", reason="None", node="n1"):
    command = f"{plan.light_script} --in-job controller {plan.file}"
    return QueuedJob("12", "12", "12", None, "job_controller", state, reason, node, 5, 9, command)


def start(plan, plan_id="", job_id="12"):
    record = read_controller(plan.file)
    ids = {plan.plan_id: plan_id or plan.plan_id}
    write_controller(plan.file, record.started("n1", job_id, ids))


def text(plans, *jobs, **more):
    found = [each for each in [controller_of(jobs, plans)] if each]
    return str(controller_state(plans, found, **more))


def test_it_is_queued_then_runs_and_was_started_again(submitted):
    """With Slurm's reason, its node, and how often."""
    waits = queued(submitted, "PENDING", "Resources", "")
    assert text([submitted], waits) == "queued (Resources), Slurm job 12"
    assert text([submitted], queued(submitted)) == "starts on n1, Slurm job 12"
    start(submitted)
    start(submitted, "exp-2")
    assert S_IMODE(controller_file(submitted.file).stat().st_mode) == 0o600
    said = text([submitted], queued(submitted))
    assert said.startswith(f"running since {datetime.now().astimezone():%Y-%m-%d}")
    assert said.endswith(" on n1, Slurm job 12, started again 1 time")


def test_one_that_is_gone_is_told_from_one_that_has_ended(submitted, monkeypatch):
    """What Slurm knows of its end is written down once, and asked no more."""
    start(submitted)
    assert text([submitted], unknown=True).startswith("not known")
    assert text([submitted]) == "its job is gone; the same command goes on, Slurm job 12"
    ends = {"12": JobEnd("12", "NODE_FAIL", node="n1")}
    monkeypatch.setattr(client, "job_ends", lambda _: ends)
    reconcile_controller([submitted], {"12"})
    assert read_controller(submitted.file).end is None
    reconcile_controller([submitted], set())
    monkeypatch.setattr(client, "job_ends", None)
    reconcile_controller([submitted], set())
    assert "job 12 on n1 ended as NODE_FAIL; the same command goes on" in text([submitted])
    write_controller(submitted.file, read_controller(submitted.file).ended(1, "it was so"))
    assert "exit status 1, it was so" in text([submitted])


def test_a_later_plan_hides_an_ended_controller_unless_it_is_of_it(submitted, make_plan):
    """The last run is what --status is about."""
    later = make_plan("exp-20270101T000000.000000")
    assert text([later, submitted]) == "None"
    start(submitted, later.plan_id)
    assert text([later, submitted]).endswith("Slurm job 12")


def test_it_has_the_scenes_of_its_plan_and_of_its_loop(submitted, make_plan):
    """A second command would train nothing twice, and says who has them."""
    job = queued(submitted)
    found = controller_of([job], [submitted])
    held = hold_queued(submitted, jobs_by_scene([found]))
    assert held_by_controller(held) == "12"
    assert held.scenes[0].reason == "running with the controller in Slurm job 12"
    assert held_by_controller(submitted) == ""
    other = make_plan("exp-20270101T000000.000000")
    assert controller_of([job], [other]) is None
    stage = LoopStage(name="train", after=(), loop="exp")
    in_loop = submitted.model_copy(update={"stage": stage, "plan_id": "exp-20260101T000000.1"})
    in_loop.file.write_text(in_loop.to_json())
    of_loop = other.model_copy(update={"stage": stage})
    assert controller_of([queued(in_loop)], [of_loop]).job.job_id == "12"


def test_a_job_has_no_scenes_any_more_once_its_flow_has_started_in_another(submitted):
    """Slurm may show it as completing for minutes, and its successor would wait for it in vain."""
    job = queued(submitted, "COMPLETING")
    assert not is_superseded(job)
    start(submitted)
    start(submitted)
    assert not is_superseded(job)
    start(submitted, job_id="13")
    assert is_superseded(job)
    worker = job.command.replace("controller", "worker")
    assert not is_superseded(replace(job, command=worker))
