"""How a plan reaches the flow, on a real Prefect engine; nothing is trained."""

from __future__ import annotations

import pytest

from flows import flow
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


def test_prefect_neither_caches_nor_retries_by_itself():
    """Whatever defaults the user's settings have: records and causes decide."""
    for task in (flow.train_scene, flow.aggregate):
        assert (task.retries, task.persist_result) == (0, False)
    assert flow.train_scenes.retries == flow.difix_data.retries == 0
