"""Prefect: what the flows use beyond its documented interface.

The engine of task runs, the context of a flow run, signals, buffered events, and REST calls that
the client has no method for. Importing this module imports Prefect, which reads its settings from
the environment at that moment; blocks are imported by the function that needs them. Each name here
has a test in `tests/contracts/test_prefect.py` or `test_prefect_requests.py`.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import nullcontext
from datetime import datetime
from importlib import resources
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterTimestamp
from prefect.client.schemas.objects import FlowRun, RunInput, State, TaskRun
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import CancelledRun, FailedRun, ObjectNotFound, TerminationSignal
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.logging.handlers import APILogWorker
from prefect.logging.loggers import task_run_logger
from prefect.settings import PREFECT_UI_URL, get_current_settings
from prefect.states import Pending
from prefect.task_engine import run_task_sync
from prefect.tasks import Task
from prefect.utilities.annotations import quote
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.engine import emit_task_run_state_change_event
from prefect.utilities.urls import url_for

__all__ = [
    "CancelledRun",
    "FailedRun",
    "FlowRun",
    "ObjectNotFound",
    "RunInput",
    "State",
    "SyncPrefectClient",
    "TaskRun",
    "TerminationSignal",
    "quote",
]

TASK_RUN_LOGGER = "prefect.task_runs"
"""The logger of all task runs' messages: the engine's own and those of `get_run_logger`."""
FLOW_RUN_LOGGERS = ("prefect.flow_runs", "prefect.engine")
"""The loggers of flow runs' messages: that of `get_run_logger`, and the engine's."""
FINAL_STATE_MESSAGE = "Finished in state "
"""What the engine's message about the end of a run begins with."""
OWN_LINE = "is_line_of_run_page"
"""Attribute of the log records that `task_run_log` makes."""
MADE_UP_BY_UI = re.compile(
    # the UI, e.g. Tasty-Loach
    r"(Awesome|Rustic|Small|Gorgeous|Fantastic|Sleek|Intelligent|Unbranded|Refined|Licensed|Generic"
    r"|Practical|Ergonomic|Handcrafted|Tasty|Handmade|Incredible)-[A-Z]"
    # its first version, e.g. kappa613-cygni-nebula
    r"|(alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho"
    r"|sigma|tau|upsilon|phi|chi|psi|omega)\d*-[a-z-]+$"
)
UI_ANSWER_S = 5.0
MOST_BLOCKS = 200
"""The largest page that Prefect's API returns."""


# Task runs whose engine runs on a thread of the flow's process


def create_pending_task_run(
    task: Task[Any, Any],
    parameters: dict[str, Any],
    wait_for: Iterable[PrefectFuture[Any]] | None,
    dependencies: dict[str, set[RunInput]] | None,
) -> TaskRun:
    """Return a task run that the server shows as Pending from now on.

    Prefect's thread runner creates it when a thread is free, so that waiting ones are invisible.
    """
    task_run: TaskRun = run_coro_as_sync(
        task.create_local_run(
            client=nullcontext(),  # type: ignore[arg-type]  # opening one costs 50 ms; not asked
            parameters=parameters,
            flow_run_context=FlowRunContext.get(),
            wait_for=wait_for,
            extra_task_inputs=dependencies,
        )
    )
    emit_task_run_state_change_event(task_run, None, task_run.state or Pending())
    return task_run


def run_task(
    task: Task[Any, Any],
    task_run: TaskRun,
    parameters: dict[str, Any],
    wait_for: Iterable[PrefectFuture[Any]] | None,
) -> State[Any]:
    """Run a task run with Prefect's engine on this thread; return its final state."""
    state: Any = run_task_sync(
        task=task, task_run=task_run, parameters=parameters, wait_for=wait_for, return_type="state"
    )
    return state  # type: ignore[no-any-return]


def as_prefect_future(
    task_run: TaskRun, future: Future[State[Any]]
) -> PrefectConcurrentFuture[Any]:
    """Return Prefect's future of a task run for a standard one of its final state."""
    return PrefectConcurrentFuture(task_run.id, future)


def standard_future(future: PrefectConcurrentFuture[Any]) -> Future[Any]:
    """Return the standard future inside Prefect's: `prefect.futures.wait` gives no turns."""
    return future.wrapped_future


def forget_results() -> None:
    """Let go of the results of this flow run's ended task runs.

    Prefect keeps a state for each part of each result, to draw an edge where a later task run gets
    it as a parameter; ours are quoted, and `wait_for` draws its edges from futures.
    """
    if context := FlowRunContext.get():
        context.run_results.clear()


# The flow run that this thread belongs to


def current_flow_run() -> FlowRun | None:
    """Return the flow run of this context; None outside of one.

    `prefect.runtime.flow_run` has single attributes only, and asks the server for some.
    """
    context = FlowRunContext.get()
    return context.flow_run if context else None


def run_parameters() -> dict[str, Any]:
    """Return the parameters of the flow run of this context; none outside of one."""
    context = FlowRunContext.get()
    return dict(context.parameters or {}) if context else {}


def typed_run_name() -> str:
    """Return the name that a person gave this flow run; empty where Prefect made one up.

    The UI fills the form's field with such a name, so nothing else says whether it was typed.
    """
    run = current_flow_run()
    return "" if run is None or is_made_up(run.name) else run.name


def is_made_up(name: str) -> bool:
    """Return whether a run's name is of the kind that Prefect's server or UI makes up."""
    if MADE_UP_BY_UI.match(name):
        return True
    words = name.split("-")
    return len(words) > 1 and _server_words().issuperset(words)


@functools.cache
def _server_words() -> frozenset[str]:
    """Return the words of coolname, of which the server makes names such as `romantic-beagle`."""
    files = (each for each in resources.files("coolname.data").iterdir() if each.suffix == ".txt")  # type: ignore[attr-defined]
    lines = (line.strip() for file in files for line in file.read_text("utf-8").splitlines())
    return frozenset(word for line in lines if line[:1] not in {"", "#"} for word in line.split())


def flow_run_url(flow_run_id: UUID) -> str:
    """Return where a flow run is in Prefect's UI; empty when the server has no UI."""
    return _url_in_ui("flow-run", flow_run_id)


def has_flow(client: SyncPrefectClient, flow_id: UUID) -> bool:
    """Return whether the server has a flow; of one that it lacks, `read_flow` raises HTTP's 404."""
    try:
        client.read_flow(flow_id)
    except ObjectNotFound:
        return False
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return False
        raise
    return True


def has_log(client: SyncPrefectClient, flow_run_id: UUID, until: datetime) -> bool:
    """Return whether the server has a line that a flow run logged until then."""
    wanted = LogFilter(
        flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]),
        timestamp=LogFilterTimestamp(before_=until),
    )
    return bool(client.read_logs(wanted, limit=1))


def says_final_state(record: logging.LogRecord) -> bool:
    """Return whether a log record is the engine's message about the end of a run."""
    return str(record.msg).startswith(FINAL_STATE_MESSAGE)


def send_buffered(timeout_s: float) -> None:
    """Wait until the events and logs that this process still holds have been sent.

    Prefect does so at the interpreter's exit, when a server of this run is gone.
    """
    EventsWorker.drain_all(timeout=timeout_s)
    APILogWorker.drain_all(timeout=timeout_s)


def task_run_url(task_run_id: UUID) -> str:
    """Return where a task run is in Prefect's UI; empty when the server has no UI."""
    return _url_in_ui("task-run", task_run_id)


def _url_in_ui(kind: Literal["flow-run", "task-run"], run_id: UUID) -> str:
    ui = str(PREFECT_UI_URL.value() or "")
    if not ui or not get_current_settings().server.ui.enabled:
        return ""
    return (url_for(kind, run_id) or "").replace(ui, _shown_ui(ui), 1)


@functools.cache
def _shown_ui(ui: str) -> str:
    """Return where a server has the version of its UI that it shows by default.

    Prefect's own addresses lead to the first version, whatever the reader uses.
    """
    try:
        answer: dict[str, Any] = httpx.get(f"{ui}/ui-settings", timeout=UI_ANSWER_S).json()
        base = answer[f"{answer['default_ui']}_base_url"]
        return str(httpx.URL(ui).join(base)).rstrip("/")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return ui  # of Prefect Cloud, or a server that is older


def task_run_log(task_run: TaskRun) -> logging.LoggerAdapter[Any]:
    """Return a logger of a task run for any thread: its lines are on its page and its flow run's.

    `is_own_line` knows them from the engine's messages, which go to the same logger.
    """
    marked: dict[str, Any] = {OWN_LINE: True}
    return task_run_logger(task_run, **marked)


def is_own_line(record: logging.LogRecord) -> bool:
    """Return whether a record was logged through `task_run_log`."""
    return hasattr(record, OWN_LINE)


# Artifacts and blocks


def create_artifact(client: SyncPrefectClient, **values: Any) -> UUID:
    """Create an artifact from any thread and return its id; `values` are ArtifactCreate's fields.

    One of a task run alone, without a key, is on that run's page and in no list.
    """
    return client.create_artifact(ArtifactCreate(**values)).id


def find_artifact(client: SyncPrefectClient, flow_run_id: UUID, key: str) -> UUID | None:
    """Return the id of a flow run's latest artifact of that key, made by an earlier attempt."""
    wanted = {"flow_run_id": {"any_": [str(flow_run_id)]}, "key": {"any_": [key]}}
    body = {"artifacts": wanted, "sort": "CREATED_DESC", "limit": 1}
    found = client.request("POST", "/artifacts/filter", json=body).json()
    return UUID(found[0]["id"]) if found else None


def replace_artifact_data(client: SyncPrefectClient, artifact_id: UUID, data: str) -> bool:
    """Replace what an artifact shows; return False when the server has it no more.

    Not by the client's `update_artifact`: it sends an event with the whole content, which is kept.
    """
    path = {"id": artifact_id}
    try:
        client.request("PATCH", "/artifacts/{id}", path_params=path, json={"data": data})
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return False
        raise
    return True


def notification_block_names() -> list[str]:
    """Return the names, as type/name, of all blocks on the server that can notify people."""
    wanted = {
        "block_schemas": {"block_capabilities": {"all_": ["notify"]}},
        "include_secrets": False,
        "limit": MOST_BLOCKS,
    }
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/block_documents/filter", json=wanted).json()
    return [f"{each['block_type']['slug']}/{each['name']}" for each in found if each["name"]]


class BlockError(Exception):
    """A block can't be loaded; the message never holds its secrets."""


def load_notification_block(name: str) -> Any:
    """Load a block by type/name; raises BlockError when its type or content can't be used."""
    import prefect.blocks.notifications  # noqa: F401  # registers the types
    from prefect.blocks.core import Block, UnknownBlockType

    try:
        return Block.load(name)
    except (ValueError, KeyError, TypeError, UnknownBlockType) as error:
        raise BlockError(type(error).__name__) from None
