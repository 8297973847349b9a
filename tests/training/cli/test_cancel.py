"""Which jobs --cancel has Slurm end, and when."""

from __future__ import annotations

import pytest

from training.cli.cancel import _Cancellation
from training.jobs.experiment_jobs import StageJob
from training.jobs.status import Queue
from training.slurm.parsers import QueuedJob


def job(stage, job_id, state):
    queued = QueuedJob(job_id, job_id, job_id, None, "x", state, "", "", 0, 0, "")
    return StageJob(queued, stage, None, "")


@pytest.mark.parametrize(
    ("state", "is_overdue", "expected"),
    [
        ("RUNNING", False, {"13"}),
        ("PENDING", False, {"12", "13"}),
        ("RUNNING", True, {"12", "13"}),
    ],
)
def test_a_controller_that_runs_sees_the_mark_and_ends_itself(state, is_overdue, expected):
    """Slurm would kill it in the middle of writing how its run ended; one that waits sees none."""
    jobs = (job("controller", "12", state), job("worker", "13", "RUNNING"))
    cancellation = _Cancellation((), None, queue=Queue(jobs), is_overdue=is_overdue)
    assert {each.job.job_id for each in cancellation._jobs_to_cancel()} == expected
