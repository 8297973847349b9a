"""GPU-hours allocated, busy and waiting, from what records say of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from training.report.gpu_hours import gpu_hours, trained_hours
from training.report.plots.timeline import Span
from training.slurm.batch_script import requested_gpus

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def span(job_id: str, start: float, end: float, kind="done", gpu="") -> Span:
    """An attempt in a job, given in hours."""
    moments = [BEGIN + timedelta(hours=hours) for hours in (start, end)]
    return Span("a", "n1", job_id, None, *moments, kind, gpu)


@pytest.mark.parametrize(
    ("spans", "gpus", "allocated", "busy"),
    [
        ([span("7", 0, 1), span("7", 1.5, 3), span("8_1", 0, 2)], 1, 5, 4.5),
        ([span("7", 0, 2), span("7", 1, 3)], 2, 6, 6),  # two at once on one job's GPUs
        ([span("7", 0, 1, "interrupted"), span("7", 5, 6)], 1, 2, 2),  # requeued in between
        # One of two ends at its time limit, the next starts: the job goes on beside both.
        ([span("7", 0, 3), span("7", 0.1, 1, "interrupted"), span("7", 1.2, 2)], 1, 3, 3),
    ],
)
def test_a_job_is_allocated_from_its_first_scene_to_its_last(spans, gpus, allocated, busy):
    """Busy while a trainer runs, waiting in between, with all its GPUs."""
    hours = gpu_hours(spans, gpus)
    assert (hours.allocated, hours.busy) == pytest.approx((allocated, busy))
    assert hours.waiting == pytest.approx(allocated - busy)


def test_scenes_that_shared_a_gpu_count_once():
    """Three in a job on two GPUs of it, two on a GPU of this machine, and two of older records."""
    in_job = [span("7", 0, 2, gpu="0"), span("7", 1, 3, gpu="0"), span("7", 0, 1, gpu="1")]
    here = [span("", 0, 1, gpu="GPU-1"), span("", 0.5, 1, gpu="GPU-1")]
    assert trained_hours(in_job) == pytest.approx(4)
    assert trained_hours(here) == pytest.approx(1)
    assert trained_hours([span("", 0, 1), span("", 0, 1)]) == pytest.approx(2)
    assert trained_hours([]) == 0


def test_there_are_none_without_jobs_or_gpus():
    """This machine's GPUs are nobody's allocation."""
    assert gpu_hours([span("", 0, 1)], 1) is None
    assert gpu_hours([span("7", 0, 1)], 0) is None


@pytest.mark.parametrize(
    ("line", "options", "gpus"),
    [
        ("--gres=gpu:1", {}, 1),
        ("--gres=gpu:a100:2", {}, 2),
        ("--gres=gpu", {}, 1),
        ("--gres=license:3", {}, 0),
        ("--gpus=a100:4", {}, 4),
        ("--gpus-per-node=2", {}, 2),
        ("--gres=gpu:1", {"gres": "gpu:3", "mem": "9G"}, 3),
        ("--mem=9G", {}, 0),
    ],
)
def test_the_script_says_how_many_gpus_a_job_has(line, options, gpus):
    """In the ways in which Slurm takes it; what flags set wins."""
    assert requested_gpus(f"#!/bin/bash\n#SBATCH {line}\ntrue\n", options) == gpus
