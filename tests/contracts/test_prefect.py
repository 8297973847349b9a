"""What `flows/adapters/prefect_adapter.py` uses of Prefect beyond its documented interface.

A failure means that the installed Prefect has changed: that file must change, and hardly another.
No server is needed here; how the parts work together is proved by the tests of `flows`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from uuid import uuid4

import httpx
import pytest
from contract import accepts, contract

ADAPTER = "flows/adapters/prefect_adapter.py"
prefect_contract = partial(contract, "prefect")


def test_the_adapter_can_be_imported():
    """Every name that it imports is where it was."""
    with prefect_contract("(see below)", ADAPTER, "at all"):
        import flows.adapters.prefect_adapter  # noqa: F401


# Task runs


def test_a_task_run_can_be_created_without_a_client():
    """prefect.tasks.Task.create_local_run."""
    with prefect_contract(
        "Task.create_local_run",
        f"{ADAPTER} create_pending_task_run",
        "to show what waits for a thread as Pending",
    ):
        from prefect import task
        from prefect.utilities.asyncutils import run_coro_as_sync

        named = task(lambda scene: scene, name="train", task_run_name="{scene}")
        run = run_coro_as_sync(
            named.create_local_run(
                client=nullcontext(),
                parameters={"scene": "a"},
                flow_run_context=None,
                wait_for=None,
                extra_task_inputs=None,
            )
        )
        assert run.id
        assert run.state.is_pending()


def test_a_quoted_parameter_is_searched_for_no_dependency():
    """prefect.utilities.annotations.quote; the task gets what was quoted."""
    with prefect_contract(
        "quote", "flows/plan_tasks.py", "to draw no edges from texts that two results share"
    ):
        from prefect.states import Completed
        from prefect.utilities.annotations import quote
        from prefect.utilities.engine import collect_task_run_inputs_sync, resolve_inputs_sync

        state = Completed()
        state.state_details.task_run_id = uuid4()
        assert collect_task_run_inputs_sync({"scene": [state]})
        assert not collect_task_run_inputs_sync({"scene": quote([state])})
        assert resolve_inputs_sync({"scene": quote(["a"])}) == {"scene": ["a"]}


def test_coroutines_run_to_their_end_from_plain_code():
    """prefect.utilities.asyncutils.run_coro_as_sync."""
    with prefect_contract(
        "run_coro_as_sync", f"{ADAPTER} create_pending_task_run", "to call create_local_run"
    ):
        from prefect.utilities.asyncutils import run_coro_as_sync

        assert run_coro_as_sync(asyncio.sleep(0, "result")) == "result"


def test_a_change_of_a_task_runs_state_is_an_event():
    """prefect.utilities.engine.emit_task_run_state_change_event."""
    with prefect_contract(
        "emit_task_run_state_change_event",
        f"{ADAPTER} create_pending_task_run",
        "to tell the server of a task run that waits",
    ):
        from prefect.utilities.engine import emit_task_run_state_change_event

        assert accepts(emit_task_run_state_change_event, "task_run", None, "state")


def test_the_engine_runs_a_given_task_run_on_this_thread():
    """prefect.task_engine.run_task_sync."""
    with prefect_contract(
        "run_task_sync", f"{ADAPTER} run_task", "to run Prefect's engine in the flow's process"
    ):
        from prefect.task_engine import run_task_sync

        keywords = ("task", "task_run", "parameters", "wait_for")
        assert accepts(run_task_sync, **dict.fromkeys(keywords), return_type="state")
        assert not inspect.iscoroutinefunction(run_task_sync)


def test_a_concurrent_future_wraps_a_standard_one():
    """prefect.futures.PrefectConcurrentFuture(task_run_id, future).wrapped_future."""
    with prefect_contract(
        "PrefectConcurrentFuture",
        f"{ADAPTER} as_prefect_future, standard_future",
        "to wait for many task runs while the display is refreshed",
    ):
        from prefect.futures import PrefectConcurrentFuture

        run_id, future = uuid4(), Future()
        made = PrefectConcurrentFuture(run_id, future)
        assert made.task_run_id == run_id
        assert made.wrapped_future is future


def test_a_flow_runs_context_remembers_results():
    """prefect.context.FlowRunContext.run_results, a dict that may be cleared."""
    with prefect_contract(
        "FlowRunContext.run_results",
        f"{ADAPTER} forget_results",
        "to keep no state of each of ten thousand scenes",
    ):
        from prefect.context import FlowRunContext

        assert FlowRunContext.model_fields["run_results"].default_factory is dict


def test_a_copied_task_may_have_another_function():
    """prefect.tasks.Task: copy.copy, then `fn`, `isasync`, `isgenerator`."""
    with prefect_contract(
        "Task.fn", "flows/runner/task_runner.py", "to have a task's function run on a Dask worker"
    ):
        import copy

        from prefect import task

        original = task(lambda: "here")
        assert (original.isasync, original.isgenerator) == (False, False)
        twin = copy.copy(original)
        twin.fn = lambda: "there"
        assert (original.fn(), twin.fn()) == ("here", "there")


def test_hooks_and_retry_conditions_of_a_task_may_be_lambdas():
    """prefect.tasks.Task.with_options."""
    with prefect_contract(
        "Task.with_options", "flows/runner/scene_events.py", "to decide about retries by cause"
    ):
        from prefect import task

        def again(_task, _run, _state):
            return True

        given = {name: [lambda *_: None] for name in ("on_running", "on_completion", "on_failure")}
        made = task(lambda: 1).with_options(retries=2, retry_condition_fn=again, **given)
        assert made.retries == 2
        assert made.retry_condition_fn is again
        assert made.on_running_hooks == given["on_running"]


def test_task_runs_log_under_one_name():
    """The logger prefect.task_runs."""
    with prefect_contract(
        "the logger of task runs", f"{ADAPTER} TASK_RUN_LOGGER", "to drop repeated messages"
    ):
        from prefect.client.schemas.objects import TaskRun
        from prefect.logging.loggers import task_run_logger

        run = TaskRun(task_key="key", dynamic_key="0")
        assert task_run_logger(run).logger.name == "prefect.task_runs"


def test_the_end_of_a_run_is_logged_in_known_words_by_known_loggers():
    """prefect.flow_runs and prefect.engine; "Finished in state ..." by both engines."""
    with prefect_contract(
        "the log of a run's end",
        f"{ADAPTER} FLOW_RUN_LOGGERS, FINAL_STATE_MESSAGE",
        "to say how a run ended once, without a traceback",
    ):
        from prefect import engine, flow_engine, task_engine
        from prefect.client.schemas.objects import FlowRun
        from prefect.exceptions import CancelledRun, FailedRun
        from prefect.logging.loggers import flow_run_logger
        from prefect.states import Cancelled, Failed, get_state_exception

        from flows.adapters.prefect_adapter import FINAL_STATE_MESSAGE, FLOW_RUN_LOGGERS

        used = (flow_run_logger(FlowRun(flow_id=uuid4())).logger, engine.engine_logger)
        assert tuple(each.name for each in used) == FLOW_RUN_LOGGERS
        for module in (flow_engine, task_engine):
            assert f'f"{FINAL_STATE_MESSAGE}' in inspect.getsource(module)
        for state, error in ((Failed(message="a"), FailedRun), (Cancelled(), CancelledRun)):
            assert type(get_state_exception(state)) is error


# The flow run


def test_names_that_prefect_makes_up_are_known():
    """Of the server (coolname), of the UI and of its first version."""
    with prefect_contract(
        "names of runs", f"{ADAPTER} is_made_up", "to keep the name that a person has typed"
    ):
        import prefect
        from prefect.utilities.names import generate_slug

        from flows.adapters.prefect_adapter import MADE_UP_BY_UI, is_made_up

        assert all(is_made_up(generate_slug(2)) for _ in range(100))
        assert is_made_up("Tasty-Loach")
        assert is_made_up("kappa613-cygni-nebula")
        assert not any(map(is_made_up, ["lr-sweep", "my_exp", "Baseline", "a b", "tasty"]))
        # Not its copy in `ui_v2_build`, which the first server with a UI makes.
        assets = prefect.__ui_v2_static_path__ / "assets"
        words = MADE_UP_BY_UI.pattern.partition(")")[0].strip("(").split("|")
        assert any(
            all(f"`{word}`" in page.read_text() for word in words)
            for page in assets.glob("deploy*run-*.js")
        )


def test_there_is_no_flow_run_outside_of_one():
    """prefect.context.FlowRunContext.get, and its field flow_run."""
    with prefect_contract(
        "FlowRunContext", f"{ADAPTER} current_flow_run", "to tag a run and to make its page"
    ):
        from prefect.context import FlowRunContext

        assert FlowRunContext.get() is None
        assert "flow_run" in FlowRunContext.model_fields


def test_a_flow_takes_its_parameters_and_its_form_from_a_signature():
    """prefect.flow on a function with __signature__; json_schema_extra reaches the form."""
    with prefect_contract(
        "prefect.flow", "flows/parameters.py", "to make the form from the options' definition"
    ):
        from prefect import flow

        from flows.parameters import with_flow_parameters

        def train(**values):
            """Do nothing."""

        form = flow(with_flow_parameters(train), validate_parameters=False).parameters.properties
        assert form["cluster"]["title"] == "Cluster"
        assert form["cluster"]["enum"] == ["local", "slurm"]
        assert form["cluster"]["description"].startswith("Where scenes run")
        assert "if" in form["notify"]


def test_sigterm_in_a_flow_raises_termination_signal():
    """prefect.exceptions.TerminationSignal, raised by prefect.utilities.engine."""
    with prefect_contract(
        "TerminationSignal", f"{ADAPTER} TerminationSignal", "to end a flow that gets SIGTERM"
    ):
        from prefect.exceptions import TerminationSignal
        from prefect.utilities.engine import capture_sigterm

        assert not issubclass(TerminationSignal, Exception)
        # Caught inside, as by our flow: outside the signal would be sent again.
        with capture_sigterm(), pytest.raises(TerminationSignal):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("module", "name"),
    [("prefect.events.worker", "EventsWorker"), ("prefect.logging.handlers", "APILogWorker")],
)
def test_buffered_events_and_logs_can_be_waited_for(module, name):
    """prefect.events.worker.EventsWorker.drain_all, prefect.logging.handlers.APILogWorker's."""
    with prefect_contract(
        f"{name}.drain_all", f"{ADAPTER} send_buffered", "to lose nothing when our server ends"
    ):
        worker = getattr(__import__(module, fromlist=[name]), name)
        assert accepts(worker.drain_all, timeout=1.0)


@pytest.mark.parametrize(
    ("shown", "ui", "begins"),
    [
        ("v2", ("/", "/v2"), "http://server:4200/v2/runs/"),
        ("v1", ("/", "/v2"), "http://server:4200/runs/"),
        ("v2", ("/lab", "/lab/v2"), "http://server:4200/lab/v2/runs/"),
        ("", ("", ""), "http://server:4200/runs/"),
    ],
)
def test_the_address_of_a_run_is_in_the_version_of_the_ui_that_is_shown(
    shown, ui, begins, monkeypatch
):
    """prefect.utilities.urls.url_for, PREFECT_UI_URL, server.ui.enabled, /ui-settings.

    A server that is older, or Prefect Cloud, answers with something else.
    """
    with prefect_contract(
        "url_for, ui-settings", f"{ADAPTER} flow_run_url, task_run_url", "to say where a run is"
    ):
        from prefect.server.schemas.ui import UISettings
        from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

        from flows.adapters import prefect_adapter as adapter

        def answer(url: str, **_) -> httpx.Response:
            assert url == f"http://server:4200{ui[0].rstrip('/')}/ui-settings"
            if not shown:
                return httpx.Response(200, html="<html></html>")
            known = {"api_url": "", "csrf_enabled": False, "auth": None, "flags": []}
            bases = {"v1_base_url": ui[0], "v2_base_url": ui[1]}
            made = UISettings(**known, default_ui=shown, available_uis=["v1", "v2"], **bases)
            return httpx.Response(200, json=made.model_dump(mode="json"))

        run_id = uuid4()
        monkeypatch.setattr(httpx, "get", answer)
        adapter._shown_ui.cache_clear()
        settings = {PREFECT_API_URL: "http://server:4200/api"}
        if ui[0].strip("/"):
            settings[PREFECT_UI_URL] = f"http://server:4200{ui[0]}"
        with temporary_settings(settings):
            assert adapter.flow_run_url(run_id) == f"{begins}flow-run/{run_id}"
            assert adapter.task_run_url(run_id) == f"{begins}task-run/{run_id}"
        adapter._shown_ui.cache_clear()
