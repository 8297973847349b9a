"""Write the message about a flow run's end, for people who have not followed the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from preprocess.faults import counted
from training.plan.model import Plan
from training.plan.scene_decision import is_done
from training.report.tables import duration
from training.report.write import report_paths

if TYPE_CHECKING:
    from flows.adapters.prefect_adapter import State

LONGEST = 1500
"""Characters of a message; chat services refuse or cut what is much longer."""
Kind = Literal["success", "warning", "failure"]


@dataclass(frozen=True)
class Notice:
    """A message in plain text, for mail and chat alike."""

    subject: str
    body: str
    kind: Kind


def notice(
    exp_name: str, state: State[Any] | None, plans: Sequence[Plan], seconds: float, address: str
) -> Notice:
    """Return the message about a flow run.

    `state` is None for a run that an exception ended, `plans` empty for one that started nothing;
    `address` is that of the run in Prefect's UI, if it has one.
    """
    lines = [
        _shortened(_state_message(state, plans)),
        f"duration: {duration(seconds)}",
        *([f"report: {report}"] if plans and (report := _report(plans[0])) else []),
        *([f"run: {address}"] if address else []),
    ]
    name = state.name if state else "Crashed"
    return Notice(f"{exp_name}: {name}", "\n".join(lines), _kind(state))


def _state_message(state: State[Any] | None, plans: Sequence[Plan]) -> str:
    """Return the state's message; where it has no counts, because the run was stopped, add them."""
    message = (state.message or "") if state else "ended by an error of its own, see its log"
    if not plans or (state and not state.is_cancelled()):
        return message
    scenes = [scene for plan in plans for scene in plan.scenes]
    return f"{message}; {sum(map(is_done, scenes))} of {counted(len(scenes), 'scene')} done"


def _report(plan: Plan) -> str:
    """Return the path of the report; empty where there is none."""
    file = report_paths(plan.roots, plan.exp_name, plan.output_subdir).file("report.html")
    return str(file) if file.exists() else ""


def _kind(state: State[Any] | None) -> Kind:
    if state is None:
        return "failure"
    if state.is_completed():
        return "success"
    return "warning" if state.is_cancelled() else "failure"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
