"""Whether the job of a silent process still runs: by its state, and by when its run began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from training.slurm import client, parsers, running_job
from training.slurm.parsers import SEPARATOR

THEN = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch):
    """No answer stands from the test before, and each stands to the end of the test."""
    running_job._mine.cache_clear()
    monkeypatch.setattr(running_job, "ASK_AGAIN_S", 1e9)


def queue_of(**given):
    fields = dict.fromkeys(parsers.QUEUE_FIELDS, "") | {"JobArrayID": "12_3"} | given
    return "".join(f"{value}{SEPARATOR}" for value in fields.values())


def local(moment):
    return moment.astimezone().replace(tzinfo=None).isoformat()


@pytest.mark.parametrize(
    ("state", "start", "may_run"),
    [
        ("RUNNING", THEN - timedelta(hours=1), True),
        ("SUSPENDED", THEN - timedelta(seconds=1), True),
        ("COMPLETING", THEN - timedelta(hours=1), True),
        ("PENDING", THEN - timedelta(hours=1), False),  # requeued: its run of then is over
        ("RUNNING", THEN + timedelta(minutes=1), True),  # clocks differ
        ("RUNNING", THEN + timedelta(minutes=6), False),  # so it is here, or another has its id
        ("CANCELLED", THEN - timedelta(hours=1), False),
    ],
)
@pytest.mark.parametrize("is_mine", [True, False])
def test_a_job_runs_by_its_state_and_the_start_of_its_run(
    monkeypatch, state, start, may_run, is_mine
):
    """Also one of another user, who shares the results."""
    line = queue_of(State=state, StartTime=local(start))
    asked = []

    def answer(command):
        asked.append(command)
        return line if is_mine == ("--me" in command) else ""

    monkeypatch.setattr(client, "_call", answer)
    assert running_job.state_of_job("12_3", THEN) == (state.lower() if may_run else "")
    running_job.state_of_job("12_3", THEN)
    assert sum("--me" in command for command in asked) == 1


@pytest.mark.parametrize(
    ("words", "is_unknown"),
    [("slurm_load_jobs error: Invalid job id specified", True), ("Access denied", False)],
)
def test_a_job_that_the_controller_does_not_know_has_ended(monkeypatch, words, is_unknown):
    """Any other refusal says nothing, and is an error, as is a controller that is away."""

    def refuse(command):
        if "--me" in command:
            return ""
        raise client.SlurmError(f"squeue: {words}")

    monkeypatch.setattr(client, "_call", refuse)
    if is_unknown:
        assert running_job.state_of_job("12_3", THEN) == ""
        return
    with pytest.raises(client.SlurmError, match="denied"):
        running_job.state_of_job("12_3", THEN)


def test_a_controller_that_is_away_is_not_asked_for_each_job(monkeypatch):
    """Each question would take it 20 s to fail."""
    asked = []

    def away(command):
        asked.append(command)
        raise client.SlurmAwayError("squeue: away")

    monkeypatch.setattr(client, "_call", away)
    for number in range(3):
        with pytest.raises(client.SlurmAwayError):
            running_job.state_of_job(f"12_{number}")
    assert len(asked) == 1
