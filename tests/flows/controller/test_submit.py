"""What is checked before a flow is submitted as a job, and what is said afterwards."""

from __future__ import annotations

import pytest
from page_lab import on_slurm, planned

from flows.controller import settings, submit
from flows.options import FlowOptions
from preprocess.faults import FaultsError
from training.plan.options import checked_options
from training.records.controller_record import ControllerRecord, write_controller
from training.slurm import client
from training.slurm.parsers import QueuedJob


@pytest.fixture
def plan(tmp_path):
    return on_slurm(planned(tmp_path, "a"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"controller": "job"}, "--controller is not valid"),
        ({"controller": "there"}, "--controller is not valid"),
        ({"controller_time": "0:01:00"}, "five minutes at least"),
        ({"orphan_grace": "scenes"}, "1-00:00:00, or scene$"),
    ],
)
def test_options_that_make_no_sense_are_refused(values, words):
    """A flow of this machine needs no job; one of a minute is over before it has begun."""
    with pytest.raises(FaultsError, match=words):
        checked_options(FlowOptions, {"exp_name": "exp", **values})


@pytest.mark.parametrize("url", ["http://127.0.0.1:4200/api", "http://localhost/api"])
def test_a_server_of_this_machine_alone_is_no_server_for_a_job(url):
    """Found before the queue, with the ways out."""
    with pytest.raises(FaultsError, match=r"a flow in a job can't reach it"):
        submit.check_reachable_from_jobs(url)
    submit.check_reachable_from_jobs("")
    submit.check_reachable_from_jobs("http://192.0.2.1:4200/api")


def test_a_time_that_slurm_refuses_is_the_controllers(plan, monkeypatch):
    """Its own flag is named, not the script's line for a scene's time."""

    def refuse(*_):
        raise client.SlurmRefusedError("Requested time limit is invalid")

    monkeypatch.setattr(submit, "check_with_sbatch", refuse)
    options = FlowOptions(exp_name="exp", cluster="slurm", controller="job")
    with pytest.raises(FaultsError, match="--controller-time 1-00:00:00"):
        submit.check_controller(plan, options)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("PENDING", (True, "is in the queue: PENDING (Resources)")),
        ("", (False, "ended before the flow began (Slurm does not say how): no module torch")),
        ("started", (True, "runs on n1")),
    ],
)
def test_the_command_says_whether_the_flow_has_started(plan, monkeypatch, state, expected):
    """It waits a while; a job that ended at once is quoted."""
    row = QueuedJob("12", "12", "12", None, "exp_controller", state, "Resources", "", 0, 1, "")
    monkeypatch.setattr(client, "jobs_of_id", lambda _: [row] if state else [])
    monkeypatch.setattr(client, "job_ends", lambda _: {})
    monkeypatch.setattr(submit, "POLL_S", 0.0)
    record = ControllerRecord(plans=(plan.plan_id,), options={})
    write_controller(plan.file, record.started("n1", "12", {}) if state == "started" else record)
    plan.job_logs.mkdir(parents=True)
    (plan.job_logs / "exp_controller-12.out").write_text("no module torch\n")
    assert submit.wait_for_start(plan, "12", timeout_s=0) == expected


def test_a_job_that_one_answer_of_slurms_lacks_has_not_ended(plan, monkeypatch):
    """It may have only just been submitted, or be between two states; its secrets stay."""
    row = QueuedJob("12", "12", "12", None, "exp_controller", "PENDING", "None", "", 0, 1, "")
    answers = iter([[], [row], [row]])
    monkeypatch.setattr(client, "jobs_of_id", lambda _: next(answers))
    monkeypatch.setattr(submit, "POLL_S", 0.0)
    settings.keep_settings(plan, {})
    lives, how = submit.wait_for_start(plan, "12", timeout_s=0)
    assert (lives, how) == (True, "is in the queue: PENDING (None)")
    settings.flow_environment(plan)


def test_a_slurm_that_falls_silent_after_the_end_is_no_traceback(plan, monkeypatch):
    def silent(_):
        raise client.SlurmAwayError("no answer")

    monkeypatch.setattr(client, "jobs_of_id", lambda _: [])
    monkeypatch.setattr(client, "job_ends", silent)
    monkeypatch.setattr(submit, "POLL_S", 0.0)
    lives, how = submit.wait_for_start(plan, "12", timeout_s=0)
    assert (lives, "Slurm does not say how" in how) == (False, True)


def test_a_job_that_can_not_be_noted_is_cancelled(plan, monkeypatch):
    """What it would read is removed."""
    cancelled = []

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(submit, "keep_scripts", lambda _: None)
    monkeypatch.setattr(submit, "prepare_launch", lambda _: None)
    monkeypatch.setattr(client, "submit", lambda _: "12")
    monkeypatch.setattr(client, "cancel", cancelled.extend)
    monkeypatch.setattr(submit, "note_controller_job", refuse)
    options = FlowOptions(exp_name="exp", cluster="slurm", controller="job")
    with pytest.raises(FaultsError, match="No space left"):
        submit.submit_controller(options, [plan], {})
    assert cancelled == ["12"]
