"""How a plan reaches the flow, on a real Prefect engine; nothing is trained."""

from __future__ import annotations

import pytest
from page_lab import planned

from flows import flow, plan_tasks
from flows.controller import submit
from flows.options import FlowOptions
from flows.parameters import values_of
from preprocess.faults import Fault, FaultsError

OPTIONS = FlowOptions(exp_name="handed-over")


@pytest.fixture
def seen(monkeypatch, prefect_server):  # noqa: ARG001
    """The plans that flow runs were about to start."""
    plans = []

    def refuse(given):
        plans.append(given)
        raise FaultsError([Fault("seen")])

    monkeypatch.setattr(flow, "prepare_launch", refuse)
    monkeypatch.setattr(flow, "scenes_without_data", lambda _: [])
    monkeypatch.setattr(flow, "_make_plans", lambda _: ["made by the flow"])
    return plans


def test_a_plan_of_the_command_line_reaches_its_flow_run(seen):
    """Prefect's engine runs the flow in the context of its caller."""
    state = flow.run_plans(OPTIONS, ["made before"])
    assert seen == [["made before"]]
    assert state.is_failed()
    assert state.message.startswith("nothing was started")


def test_a_flow_that_prefect_starts_makes_its_own_plan(seen):
    """Even after one that was given a plan, with the same parameters."""
    flow.run_plans(OPTIONS, ["made before"])
    flow.train_scenes(**values_of(OPTIONS), return_state=True)
    assert seen == [["made before"], ["made by the flow"]]


def test_a_run_of_the_form_is_submitted_as_a_job_and_ends(seen, monkeypatch, tmp_path):
    """It says so: completed it is not called, and the run in the job is another one."""
    options = FlowOptions(exp_name="handed-over", cluster="slurm", controller="job")
    monkeypatch.setattr(flow, "_make_plans", lambda _: [planned(tmp_path, "a")])
    monkeypatch.setattr(submit, "settings_in_flow", dict)
    monkeypatch.setattr(submit, "check_controller", lambda *_: None)
    monkeypatch.setattr(submit, "submit_controller", lambda *_: "12")
    monkeypatch.setattr(submit, "next_commands", lambda *_: "watch: it")
    state = flow.train_scenes(**values_of(options), return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Submitted")
    assert "Slurm job 12" in state.message
    assert not seen


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"time_limit": "soon", "workers": -1}, ["2 to correct", "Time limit", "soon", "-1"]),
        (
            {"scenes_dir": "/nowhere", "overrides": ["no.such=1"]},
            ["2 to correct", "/nowhere", "Scene files", "no.such"],
        ),
    ],
    ids=["a wrong flag", "a missing folder"],
)
@pytest.mark.usefixtures("prefect_server")
def test_what_is_wrong_before_there_is_a_plan_is_on_the_runs_page(prefect_api, given, words):
    """A run of the form, whose user sees no terminal: all of it, by the form's names."""
    state = flow.train_scenes(exp_name="refused", **given, return_state=True)
    assert state.is_failed()
    assert state.message.startswith("nothing was started")
    run = {"id": str(state.state_details.flow_run_id)}
    (page,) = prefect_api.artifacts(run).values()
    assert [word for word in words if word not in page] == []


def test_prefect_neither_caches_nor_retries_by_itself():
    """Whatever defaults the user's settings have: records and causes decide."""
    for task in (plan_tasks.train_scene, plan_tasks.aggregate):
        assert (task.retries, task.persist_result) == (0, False)
    assert flow.train_scenes.retries == flow.difix_data.retries == 0
