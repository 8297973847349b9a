"""Jobs that are submitted while Prefect starts: when, and when something must come first."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from page_lab import planned

from flows import train
from flows.options import FlowOptions
from flows.server.managed import API
from flows.slurm import worker_jobs
from training.plan.model import SlurmPlan


@pytest.fixture
def plan(tmp_path):
    slurm = SlurmPlan(
        script=tmp_path / "site.slurm",
        script_text="#!/bin/sh",
        light_script_text="#!/bin/sh",
        job_name="exp",
        time_s=60,
        scenes_per_job=1,
        parallelism=1,
    )
    return planned(tmp_path, "a").model_copy(update={"slurm": slurm})


@pytest.mark.parametrize("what", ["jobs", "a block to notify", "a new database", "no Slurm"])
def test_jobs_are_submitted_early_unless_the_run_can_be_refused_or_waits(plan, monkeypatch, what):
    """A block is only known to the server, and a new database takes half a minute."""
    monkeypatch.setattr(worker_jobs, "submitted_early", lambda _: nullcontext("jobs"))
    notify = "slack-webhook/lab" if what == "a block to notify" else ""
    options = FlowOptions(exp_name="exp", cluster="slurm", notify=notify)
    api = API("", has_database=what != "a new database")
    plans = [plan.model_copy(update={"slurm": None})] if what == "no Slurm" else [plan]
    with train._early_jobs(options, plans, api) as jobs:
        assert (jobs == "jobs") == (what == "jobs")


def test_nothing_is_submitted_for_scenes_whose_data_is_made_first(plan, monkeypatch):
    """That takes minutes, in which jobs would idle; nor where all scenes are done."""

    def fail(*_):
        raise AssertionError("submitted")

    monkeypatch.setattr(worker_jobs, "prepare_launch", fail)
    done = plan.scenes[0].model_copy(update={"action": "skip"})
    with worker_jobs.submitted_early([plan.model_copy(update={"scenes": (done,)})]) as jobs:
        assert jobs is None
    monkeypatch.setattr(worker_jobs, "scenes_without_data", lambda _: ["a"])
    with worker_jobs.submitted_early([plan]) as jobs:
        assert jobs is None
