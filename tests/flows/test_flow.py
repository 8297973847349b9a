"""How a plan reaches the flow, on a real Prefect engine; nothing is trained."""

from __future__ import annotations

import pytest
from page_lab import planned

from flows import flow, plan_tasks
from flows.controller import submit
from flows.options import FlowOptions
from flows.parameters import values_of
from preprocess.faults import Fault, FaultsError
from training.jobs import flow_claim
from training.plan.model import LoopStage

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


def stages_in(folder, *names):
    """Return plans of a loop's stages with nothing to do, kept as a launch keeps them."""
    found = []
    for number, name in enumerate(names):
        stage = LoopStage(
            name=name, after=(), loop="exp", plans=tuple(f"exp-{each}" for each in names)
        )
        update = {"plan_id": f"exp-{name}", "stage": stage, "output_subdir": name * (number > 0)}
        plan = planned(folder, "a", a="skip").model_copy(update=update)
        plan.file.parent.mkdir(parents=True, exist_ok=True)
        plan.file.write_text(plan.to_json())
        found.append(plan)
    return found


def test_a_loop_that_dies_between_two_stages_can_be_found(monkeypatch, prefect_server, tmp_path):  # noqa: ARG001
    """By its first stage's claim and note: else its run would be shown as running for ever."""
    plans, found = stages_in(tmp_path, "train", "generate"), []
    next_start = plans[0].model_copy(update={"plan_id": "exp-later"})
    run_stage = flow._run_stage

    def watched(plan, *more):
        found.append([each.plan_id for each in flow_claim.flows_before(next_start)])
        return run_stage(plan, *more)

    monkeypatch.setattr(flow, "_run_stage", watched)
    monkeypatch.setattr(plan_tasks, "_train", lambda *_: [])
    flow.run_plans(FlowOptions(exp_name="exp"), plans)
    assert found == [[], ["exp-train"]]
    assert flow_claim.flows_before(next_start) == []


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
