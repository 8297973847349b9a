"""What the guard ends once its flow has ended: by how that was, and whether scenes may go on."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from page_lab import on_slurm, planned

from flows.slurm import job_guard
from training.slurm.parsers import QueuedJob


@pytest.fixture
def guard(tmp_path, monkeypatch):
    """Run the guard of a flow with a running, a queued and an adopted job; return what it ends."""

    def run(word, orphan_grace_s):
        plan = on_slurm(planned(tmp_path, "a"), orphan_grace_s=orphan_grace_s)
        adopted = plan.scenes[0].model_copy(update={"adopted_job": "3"})
        plan = plan.model_copy(update={"scenes": (adopted,)})
        states = {"1": "RUNNING", "2": "PENDING", "3": "RUNNING", "4": "RUNNING"}
        commands = {"1": str(plan.file), "2": str(plan.file), "3": "of a former flow", "4": "x"}
        left = {
            key: QueuedJob(key, key, key, None, "w", state, "", "", 0, 0, commands[key])
            for key, state in states.items()
        }
        cancelled, clock = [], [0.0]

        def cancel(ids):
            cancelled.extend(ids)
            for each in ids:
                del left[each]

        def sleep(seconds):
            clock[0] += seconds

        monkeypatch.setattr(job_guard, "read_plan", lambda _: plan)
        monkeypatch.setattr(job_guard.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(word)))
        monkeypatch.setattr(job_guard.client, "my_jobs", lambda: list(left.values()))
        monkeypatch.setattr(job_guard.client, "cancel", cancel)
        monkeypatch.setattr(job_guard.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(job_guard.time, "sleep", sleep)
        assert job_guard.main(["plan.json"]) == 0
        return cancelled

    return run


def test_what_a_killed_flow_has_left_ends_within_the_bound(guard):
    """What is queued at once, what runs when it has had its time, adopted jobs too."""
    assert guard(b"", 0) == ["2", "1", "3"]


def test_with_a_grace_the_running_jobs_of_a_killed_flow_are_left_to_themselves(guard):
    assert guard(b"", 3600) == ["2"]


def test_a_flow_that_ends_in_good_order_leaves_nothing(guard):
    assert guard(job_guard.IN_GOOD_ORDER, 3600) == ["2", "1", "3"]


def test_a_guard_whose_plan_can_not_be_read_says_so_in_a_line(tmp_path, capsys):
    """Without the plan it can't tell which jobs are the flow's."""
    file = tmp_path / "exp-1.json"
    file.write_text("{")
    assert job_guard.main([str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"guard: {file} can't be read")
