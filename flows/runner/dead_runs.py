"""End flow runs whose processes have died: without this Prefect would show them as Running."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Crashed

from flows.adapters.prefect_adapter import FlowRun, ObjectNotFound, State
from training.jobs.flow_claim import (
    FlowRunNote,
    forget_flow_run,
    note_flow_run,
    noted_flow_run,
    predecessors_of,
)
from training.plan.model import Plan

MESSAGE = "its process has died; the run {name} ({id}) goes on with its scenes"

Logger = logging.Logger | logging.LoggerAdapter[Any]
UNFINISHED = TaskRunFilter(
    state=TaskRunFilterState(
        type=TaskRunFilterStateType(
            any_=[StateType.PENDING, StateType.RUNNING, StateType.SCHEDULED]
        )
    )
)
MOST_PAGES = 3
"""Of 200 task runs each; a flow has fewer than 400 that have not ended."""


def note_run(plan: Plan, run: FlowRun) -> None:
    """Note which flow run a plan's flow is, for the one that finds that its process has died."""
    note_flow_run(plan, FlowRunNote(id=run.id, name=run.name))


def end_dead_runs(plans: Sequence[Plan], successor: FlowRun, logger: Logger) -> str:
    """Give the runs of flows that these plans succeed a final state; log what goes on of them.

    Return the id of the last such run, empty without any. A server that does not answer is asked
    again by the next flow.
    """
    ended = ""
    for plan in plans:
        for predecessor in predecessors_of(plan):
            if run := noted_flow_run(predecessor):
                logger.info("goes on after the flow run %s (%s), which has died", run.name, run.id)
                if _try_to_end(run, MESSAGE.format(name=successor.name, id=successor.id)):
                    forget_flow_run(predecessor)
                ended = str(run.id)
        for scene in plan.of("run"):
            if scene.adopted_job:
                logger.info("%s: %s", scene.name, scene.reason)
    return ended


def _try_to_end(run: FlowRunNote, message: str) -> bool:
    """Return whether the server has no such run that goes on."""
    try:
        with get_client(sync_client=True) as client:
            _end(client, run, message)
    except ObjectNotFound:  # somebody has deleted it, or it is on another server
        return True
    except (httpx.HTTPError, RuntimeError):
        return False
    return True


def _end(client: SyncPrefectClient, run: FlowRunNote, message: str) -> None:
    """Set the state of a run, and of those of its task runs that have not ended."""
    flow_run = client.read_flow_run(run.id)
    if (state := _final_state(flow_run.state, message)) is not None:
        client.set_flow_run_state(run.id, state, force=True)
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    for _ in range(MOST_PAGES):
        for task_run in client.read_task_runs(flow_run_filter=of_run, task_run_filter=UNFINISHED):
            client.set_task_run_state(task_run.id, Crashed(message=message), force=True)


def _final_state(state: State | None, message: str) -> State | None:
    """Return the state in which a run whose process has died ends; None where it has ended."""
    if state is not None and state.is_final():
        return None
    is_cancelled = state is not None and state.is_cancelling()
    return (Cancelled if is_cancelled else Crashed)(message=message)
