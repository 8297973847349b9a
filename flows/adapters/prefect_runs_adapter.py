"""Give a flow run, and its task runs that have not ended, a final state on the server."""

from __future__ import annotations

from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Crashed

from flows.adapters.prefect_adapter import State

UNFINISHED = TaskRunFilter(
    state=TaskRunFilterState(
        type=TaskRunFilterStateType(
            any_=[StateType.PENDING, StateType.RUNNING, StateType.SCHEDULED]
        )
    )
)
MOST_PAGES = 3
"""Of 200 task runs each; a flow has fewer than 400 that have not ended."""


def end_flow_run(run_id: UUID, message: str) -> None:
    """End a run as crashed, one that was being cancelled as cancelled; what has ended stays.

    Raises ObjectNotFound where the server has no such run, and httpx.HTTPError.
    """
    with get_client(sync_client=True) as client:
        state = _final_state(client.read_flow_run(run_id).state, message)
        if state is not None:
            client.set_flow_run_state(run_id, state, force=True)
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        for _ in range(MOST_PAGES):
            left = client.read_task_runs(flow_run_filter=of_run, task_run_filter=UNFINISHED)
            for task_run in left:
                client.set_task_run_state(task_run.id, Crashed(message=message), force=True)


def _final_state(state: State | None, message: str) -> State | None:
    """Return the state in which a run whose process has died ends; None where it has ended."""
    if state is not None and state.is_final():
        return None
    is_cancelled = state is not None and state.is_cancelling()
    return (Cancelled if is_cancelled else Crashed)(message=message)
