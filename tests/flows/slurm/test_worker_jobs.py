"""Jobs that are submitted while Prefect starts: when, and when something must come first."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
from page_lab import on_slurm, planned

from flows import train
from flows.options import FlowOptions
from flows.server.managed import API
from flows.slurm import worker_jobs
from training.jobs.kept_scripts import write_lost_files
from training.plan.experiments import read_plan


@pytest.fixture
def plan(tmp_path):
    return on_slurm(planned(tmp_path, "a"))


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


def test_after_enough_failures_no_job_is_kept_for_scenes_that_are_not_submitted(plan, monkeypatch):
    """Of ten thousand scenes only some have task runs: their GPUs would idle for hours."""
    pools = []

    def pool(*_, unfinished_calls, **__):
        pools.append(unfinished_calls)
        return Mock()

    monkeypatch.setattr(worker_jobs, "own_address", lambda _: "127.0.0.1")
    monkeypatch.setattr(worker_jobs, "SlurmWorkerCluster", Mock())
    monkeypatch.setattr(worker_jobs, "JobPool", pool)
    scenes = [plan.scenes[0].model_copy(update={"name": f"a_{number}"}) for number in range(9)]
    jobs = worker_jobs.scene_jobs(plan.model_copy(update={"scenes": tuple(scenes)}))
    (unfinished,) = pools
    assert unfinished() == 9
    jobs.progress = lambda: (5, 3)
    assert unfinished() == 6
    plan.enough_failures.parent.mkdir(parents=True, exist_ok=True)
    plan.enough_failures.touch()
    assert unfinished() == 2


def test_what_jobs_read_is_written_again_where_it_was_deleted(plan, capsys):
    """Else no job would come any more, though the flow knows the plan."""
    write_lost_files(plan)
    files = (plan.file, plan.script, plan.light_script)
    assert all(file.exists() for file in files)
    shutil.rmtree(plan.file.parent)
    write_lost_files(plan)
    assert read_plan(plan.file).plan_id == plan.plan_id
    assert all(file.exists() for file in files)
    shutil.rmtree(plan.file.parent)
    plan.file.parent.write_text("no folder")
    write_lost_files(plan)
    assert "the plan's files are gone, and can't be written again" in capsys.readouterr().err
