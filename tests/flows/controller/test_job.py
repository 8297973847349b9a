"""The process that keeps a flow in a Slurm job: what it does at its child's end and at Slurm's.

Slurm's commands are not called; the flow is a process that does what a line says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import threading

import pytest
from conftest import is_alive
from page_lab import on_slurm, planned

from flows.controller import job, settings
from training.records.controller_record import (
    ControllerRecord,
    controller_job_id,
    read_controller,
    write_controller,
)
from training.records.record import now
from training.slurm import client, parsers
from training.slurm.parsers import QueuedJob

DONE, FAILED, INTERRUPTED = 0, 1, 130


@pytest.fixture
def plan(tmp_path):
    """A plan that was submitted with a controller."""
    made = on_slurm(planned(tmp_path, "a"))
    made.file.parent.mkdir(parents=True)
    made.file.write_text(made.to_json())
    options = {"exp_name": "exp", "controller_time": "1:00:00"}
    write_controller(made.file, ControllerRecord(plans=(made.plan_id,), options=options))
    settings.keep_settings(made, {"PREFECT_API_KEY": "hush-hush"})
    return made


@pytest.fixture
def run(plan, monkeypatch):
    """Return a function that runs the controller, whose flow does `dos`, and its exit status."""
    monkeypatch.setattr(job, "FLOW", "tests.flows.controller.stand_in_flow")
    monkeypatch.setattr(job, "POLL_S", 0.05)
    monkeypatch.setattr(job, "REQUEUE_TIMEOUT_S", 0)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    requeued = []
    monkeypatch.setattr(client, "requeue", requeued.append)

    def begin(*dos, meanwhile=None):
        plan.file.with_suffix(".do").write_text(" ".join(dos))
        thread = threading.Thread(target=meanwhile) if meanwhile else None
        # Signals of the process reach its other threads, too, where they are not blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, job.SIGNALS)
        if thread:
            thread.start()
        status = job.main([str(plan.file)])
        if thread:
            thread.join()
        return status, requeued

    yield begin
    while signal.sigtimedwait(job.SIGNALS, 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def slurm_says(monkeypatch, state, fields=""):
    queued = QueuedJob("12", "12", "12", None, "exp_controller", state, "", "n1", 1, 1, "")
    text = f"JobId=12 JobName=exp\n   StartTime=2026-12-01T12:00:00 {fields}\n"
    monkeypatch.setattr(client, "job_fields", lambda _: parsers.job_fields(text))
    monkeypatch.setattr(client, "jobs_of_id", lambda _: [queued])


def when_it_waits(plan, eventually, act):
    """Return a function that acts once the flow waits."""

    def meanwhile():
        eventually(plan.file.with_suffix(".pid").exists, "the flow")
        act()

    return meanwhile


def tell(number):
    return lambda: os.kill(os.getpid(), number)


def starts(plan):
    return [each.plans for each in read_controller(plan.file).starts]


@pytest.mark.parametrize("status", [DONE, INTERRUPTED])
def test_a_flow_that_has_ended_ends_the_controller(plan, run, status):
    """Its status is the job's; its secrets, which it had in its environment alone, are removed."""
    kept = settings.folder_of(plan) / "settings.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert run(str(status)) == (status, [])
    record = read_controller(plan.file)
    assert (record.exit_status, len(record.starts)) == (status, 1)
    environment = json.loads(plan.file.with_suffix(".env").read_text())
    assert environment["PREFECT_API_KEY"] == "hush-hush"
    assert environment["PREFECT_HOME"] == str(settings.folder_of(plan) / "prefect")
    assert not kept.exists()


def test_a_flow_that_was_killed_is_started_again_in_the_same_job(plan, run):
    """With plans of another id, so that a guard of the dead one does not end its jobs."""
    assert run("killed", "0") == (DONE, [])
    first, second = starts(plan)
    assert first == {plan.plan_id: plan.plan_id}
    assert second[plan.plan_id] != plan.plan_id


def test_a_flow_that_is_killed_again_and_again_is_given_up(plan, run):
    """As one that needs more memory than its job has; the record says so."""
    assert run(*["killed"] * 4) == (FAILED, [])
    assert "killed 4 times" in read_controller(plan.file).message


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_at_the_end_of_its_time_the_job_is_queued_again(plan, run, eventually, monkeypatch, number):
    """Also before a preemption; the flow dies as with its node, so that it cancels nothing."""
    slurm_says(monkeypatch, "RUNNING")
    told = when_it_waits(plan, eventually, tell(number))
    assert run("waits", meanwhile=told) == (FAILED, ["12"])
    assert not is_alive(int(plan.file.with_suffix(".pid").read_text()))
    assert read_controller(plan.file).end is None
    assert not plan.cancelled.exists()
    assert (settings.folder_of(plan) / "settings.json").exists()


def test_a_job_that_slurm_ends_is_not_queued_again(plan, run, eventually, monkeypatch):
    """A user has cancelled it; a job that Slurm itself requeues needs nothing of us."""
    slurm_says(monkeypatch, "COMPLETING")
    told = when_it_waits(plan, eventually, tell(signal.SIGTERM))
    assert run("waits", meanwhile=told) == (FAILED, [])
    assert read_controller(plan.file).end is None


def test_where_slurm_requeues_no_job_another_one_is_submitted(plan, run, eventually, monkeypatch):
    """A site may forbid it."""
    slurm_says(monkeypatch, "RUNNING")

    def refuse(_):
        raise client.SlurmError("scontrol: Access denied")

    commands = []
    monkeypatch.setattr(client, "submit", lambda command: commands.append(command) or "13")
    told = when_it_waits(plan, eventually, tell(signal.SIGUSR1))
    monkeypatch.setattr(client, "requeue", refuse)
    assert run("waits", meanwhile=told)[0] == FAILED
    assert commands[0][-3:] == ["--in-job", "controller", str(plan.file)]
    assert controller_job_id(plan.file) == "13"


@pytest.mark.parametrize(
    ("fields", "is_replaced"),
    [
        ("Reason=TimeLimit Restarts=0 PreemptTime=None", True),
        ("Reason=None Restarts=0 PreemptTime=2026-12-01T12:00:10", True),
        ("Reason=None Restarts=1 PreemptTime=2026-12-01T12:00:10", False),
        ("Reason=None Restarts=0 PreemptTime=2026-12-01T11:00:00", False),
        ("Reason=None Restarts=0 PreemptTime=None", False),
    ],
    ids=["its time", "preempted", "preempted, requeued", "preempted earlier", "cancelled"],
)
def test_a_job_that_slurm_ends_for_good_has_a_successor_unless_it_is_cancelled(
    plan, run, eventually, monkeypatch, *, fields, is_replaced
):
    """Its time may be over without notice; a site may end preempted jobs, not requeue them."""
    slurm_says(monkeypatch, "COMPLETING", fields)
    commands = []
    monkeypatch.setattr(client, "submit", lambda command: commands.append(command) or "13")
    told = when_it_waits(plan, eventually, tell(signal.SIGTERM))
    assert run("waits", meanwhile=told) == (FAILED, [])
    assert [each[-3:] for each in commands] == [
        ["--in-job", "controller", str(plan.file)]
    ] * is_replaced
    assert controller_job_id(plan.file) == "13" * is_replaced


def test_a_controller_that_slurm_took_for_lost_ends_itself(plan, run, eventually):
    """It runs on where only Slurm has lost its node; the later start has the run."""

    def start_elsewhere():
        write_controller(plan.file, read_controller(plan.file).started("n2", "12", {}))

    assert run("waits", meanwhile=when_it_waits(plan, eventually, start_elsewhere))[0] == FAILED
    assert not is_alive(int(plan.file.with_suffix(".pid").read_text()))
    assert read_controller(plan.file).end is None
    assert (settings.folder_of(plan) / "settings.json").exists()


def test_the_mark_of_cancel_reaches_plans_that_are_younger(plan, run, eventually):
    """A flow that does not look at it is interrupted once Slurm was told to end the job."""
    write_controller(plan.file, read_controller(plan.file).started("n1", "12", {}))

    def cancel():
        plan.cancelled.touch()
        later = plan.file.with_name(f"{starts(plan)[-1][plan.plan_id]}.cancelled")
        eventually(later.exists, "the mark of the later plan")
        os.kill(os.getpid(), signal.SIGTERM)

    told = when_it_waits(plan, eventually, cancel)
    assert run("0", "waits", meanwhile=told) == (INTERRUPTED, [])
    assert read_controller(plan.file).exit_status == INTERRUPTED


def test_neither_a_cancelled_controller_nor_one_of_a_hundred_starts_begins(plan, run):
    """A job that was queued while --cancel came; one that is requeued for ever."""
    record = read_controller(plan.file)
    for _ in range(job.MOST_STARTS):
        record = record.started("n1", "12", {})
    write_controller(plan.file, record)
    assert run("0") == (FAILED, [])
    assert "100 times" in read_controller(plan.file).message
    plan.cancelled.touch()
    assert run("0") == (FAILED, [])
    assert "cancelled" in read_controller(plan.file).message
    assert read_controller(plan.file).end <= now()


def test_passwords_are_not_kept_in_a_folder_that_somebody_has_planted(plan, tmp_path):
    """Whoever made it could exchange the file, from which the flow's environment is taken."""
    folder = settings.folder_of(plan)
    folder.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "theirs").mkdir()
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError):
        settings.keep_settings(plan, {"PREFECT_API_KEY": "hush-hush"})
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.parametrize("content", ["{", "[]", '{"PREFECT_API_URL": 7}'])
def test_damaged_settings_are_said_in_a_line(plan, run, capsys, content):
    """The job's log names the file."""
    kept = settings.folder_of(plan) / "settings.json"
    kept.write_text(content)
    assert run("end 0")[0] == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"controller: {kept} can't be read")
