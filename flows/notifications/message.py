"""What is said of the end of a flow run to people who were not looking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from training.plan.model import Plan
from training.plan.scene_decision import is_done
from training.report.tables import duration
from training.report.write import report_paths

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

LONGEST = 1500
"""Letters of a message; chat services refuse or cut what is much longer."""
Kind = Literal["success", "warning", "failure"]


@dataclass(frozen=True)
class Notice:
    """A message: it reads well as plain text, in a mail and in a chat."""

    subject: str
    body: str
    kind: Kind


def notice(
    exp_name: str, state: State[Any] | None, plan: Plan | None, seconds: float, address: str
) -> Notice:
    """About a run: `state` None where it broke, `plan` None where nothing was started."""
    lines = [
        _cut(_said(state, plan)),
        f"duration: {duration(seconds)}",
        *([f"report: {report}"] if plan and (report := _report(plan)) else []),
        *([f"run: {address}"] if address else []),
    ]
    name = state.name if state else "Crashed"
    return Notice(f"{exp_name}: {name}", "\n".join(lines), _kind(state))


def _said(state: State[Any] | None, plan: Plan | None) -> str:
    """The state's own words: they have counts and names, except where the run was stopped."""
    said = (state.message or "") if state else "ended by an error of its own, see its log"
    if plan is None or (state and not state.is_cancelled()):
        return said
    return f"{said}; {sum(map(is_done, plan.scenes))} of {len(plan.scenes)} scenes done"


def _report(plan: Plan) -> str:
    """Where the report is; nothing where there is none."""
    file = report_paths(plan.roots, plan.exp_name, plan.output_subdir).file("report.html")
    return str(file) if file.exists() else ""


def _kind(state: State[Any] | None) -> Kind:
    if state is None:
        return "failure"
    if state.is_completed():
        return "success"
    return "warning" if state.is_cancelled() else "failure"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
