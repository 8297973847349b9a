"""End flow runs whose processes have died: without this Prefect would show them as Running."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import httpx

from flows.adapters.prefect_adapter import FlowRun, ObjectNotFound
from flows.adapters.prefect_runs_adapter import end_flow_run
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
        end_flow_run(run.id, message)
    except ObjectNotFound:  # somebody has deleted it, or it is on another server
        return True
    except (httpx.HTTPError, RuntimeError):
        return False
    return True
