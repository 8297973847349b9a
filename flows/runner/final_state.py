"""The state in which a flow run ends: derived from the records of its plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.states import Completed, Failed

from flows.adapters.prefect_adapter import State
from training.plan.model import Plan
from training.report.summary import standing


def final_state(plan: Plan, fault: str = "") -> State[Any]:
    """Return Completed if every chosen scene is done by its record, else Failed, naming the rest.

    `fault` is what else went wrong; it makes the state Failed, too.
    """
    all_done, text = standing(plan, fault)
    return (Completed if all_done else Failed)(message=text)


def state_of_all(plans: Sequence[Plan], states: Sequence[State[Any]]) -> State[Any]:
    """Return the state of a flow run, given those of its plans: of one plan its own."""
    if not plans[1:]:
        return states[0]
    named = (
        f"{plan.stage.name if plan.stage else plan.exp_name}: {state.message}"
        for plan, state in zip(plans, states, strict=True)
    )
    is_done = all(state.is_completed() for state in states)
    return (Completed if is_done else Failed)(message="; ".join(named))
