"""What `flows/adapters/prefect_adapter.py` uses of Prefect beyond its documented interface.

A failure means that the installed Prefect has changed: that file must change, and hardly another.
No server is needed here; how the parts work together is proved by the tests of `flows`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import runpy
import signal
import sys
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from contract import contract

ADAPTER = "flows/adapters/prefect_adapter.py"
ARTIFACT = UUID("00000000-0000-0000-0000-00000000a411")
prefect_contract = partial(contract, "prefect")


def accepts(function, *args, **kwargs) -> bool:
    """Whether a function can be called like this; raises TypeError if not."""
    return bool(inspect.signature(function).bind(*args, **kwargs))


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
        "quote", "flows/flow.py", "to draw no edges from texts that two results share"
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
        f"{ADAPTER} as_prefect_future, standard_futures",
        "to wait for many task runs while the display is refreshed",
    ):
        from prefect.futures import PrefectConcurrentFuture

        run_id, future = uuid4(), Future()
        made = PrefectConcurrentFuture(run_id, future)
        assert made.task_run_id == run_id
        assert made.wrapped_future is future


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


# Deploying


def test_the_forms_schema_needs_no_flow():
    """prefect.utilities.callables.parameter_schema: the same for a bare function."""
    with prefect_contract(
        "parameter_schema", f"{ADAPTER} parameter_schema_of", "to deploy without importing the flow"
    ):
        from prefect import flow

        from flows.adapters.prefect_adapter import parameter_schema_of
        from flows.parameters import with_flow_parameters

        @with_flow_parameters
        def train(**_):
            """Train."""

        assert parameter_schema_of(train) == flow(train).parameters.model_dump(exclude_unset=True)
        assert parameter_schema_of(train)["required"] == ["exp_name"]


def test_steps_and_placeholders_of_a_prefect_yaml(monkeypatch):
    """prefect.deployments.steps.core.run_steps, prefect.utilities.templating.apply_values."""
    with prefect_contract(
        "run_steps and apply_values", f"{ADAPTER} run_deploy_steps, fill_in", "to deploy"
    ):
        from prefect.deployments.steps.core import run_steps

        from flows.adapters.prefect_adapter import fill_in

        assert accepts(run_steps, [], {}, print_function=print)
        monkeypatch.setenv("TS_OF_A_STEP", "1")
        given = {"a": "{{ id.out }}", "b": "{{ $TS_OF_A_STEP }}", "c": "{{ ctx.x }}"}
        filled = fill_in(given, {"id": {"out": {"k": "v"}}})
        assert filled == {"a": {"k": "v"}, "b": "1", "c": "{{ ctx.x }}"}


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


def test_the_address_of_a_run_in_the_ui_has_its_id():
    """prefect.utilities.urls.url_for, and the setting server.ui.enabled."""
    with prefect_contract("url_for", f"{ADAPTER} flow_run_url", "to say where a run is"):
        from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
        from prefect.utilities.urls import url_for

        assert get_current_settings().server.ui.enabled in {True, False}
        run_id = uuid4()
        with temporary_settings({PREFECT_API_URL: "http://server:4200/api"}):
            address = url_for("flow-run", run_id)
        assert address.startswith("http://server:4200/")
        assert str(run_id) in address


# Settings


def test_settings_are_kept_when_their_variables_are_gone(monkeypatch):
    """prefect.context.refresh_global_settings_context, prefect.settings.get_current_settings."""
    with prefect_contract(
        "refresh_global_settings_context",
        "flows/adapters/prefect_settings_adapter.py read_settings_again",
        "to keep a password from trainers without losing it",
    ):
        from prefect.context import refresh_global_settings_context
        from prefect.settings import get_current_settings

        try:
            monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:secret")
            refresh_global_settings_context()
            monkeypatch.delenv("PREFECT_API_AUTH_STRING")
            kept = get_current_settings().api.auth_string.get_secret_value()
        finally:
            monkeypatch.undo()
            refresh_global_settings_context()
        assert kept == "admin:secret"


def variables_of_ours() -> list[str]:
    """The settings of Prefect's that our source code names; PREFECT__ begins no setting."""
    checkout = Path(__file__).resolve().parents[2]
    sources = [*checkout.glob("flows/**/*.py"), *checkout.glob("deployments/**/*.py")]
    named = re.compile(r'"(PREFECT_(?!_)[A-Z0-9_]+)"')
    return sorted({name for each in sources for name in named.findall(each.read_text("utf-8"))})


NOT_SETTINGS = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",  # replaces a value of logging.yml
    "PREFECT_PROFILE",  # says which profile to read
}
VALUES = ("true", "false", "61", "http://server/api", "INFO", '{"a": "b"}', "events", "/tmp/file")


@pytest.mark.parametrize("name", sorted(set(variables_of_ours()) - NOT_SETTINGS))
def test_prefect_knows_each_variable_that_we_set_or_read(name, monkeypatch):
    """Prefect ignores an unknown variable silently."""
    with prefect_contract(f"the setting {name}", "flows/server, deployments", "to have an effect"):
        monkeypatch.delenv(name, raising=False)
        without = settings()
        assert any(settings_with(name, value, monkeypatch) not in ({}, without) for value in VALUES)


def settings() -> dict[str, str]:
    """All settings; none where a value is not valid."""
    from prefect.settings import Settings

    try:
        return Settings().to_environment_variables(include_secrets=True)
    except ValueError:
        return {}


def settings_with(name: str, value: str, monkeypatch) -> dict[str, str]:
    monkeypatch.setenv(name, value)
    return settings()


def test_a_variable_sets_the_level_of_the_terminals_handler(monkeypatch):
    """prefect.logging.configuration.load_logging_config."""
    with prefect_contract(
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "flows/server/managed.py", "to be quiet"
    ):
        import prefect.logging
        from prefect.logging.configuration import load_logging_config

        monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        config = load_logging_config(Path(prefect.logging.__file__).with_name("logging.yml"))
        assert config["handlers"]["console"]["level"] == "CRITICAL"


# REST calls


@pytest.fixture
def requests():
    """What a client has sent."""
    return []


@pytest.fixture
def client(requests):
    """A client of a server that knows one artifact."""
    from prefect.client.orchestration import SyncPrefectClient

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        known = str(ARTIFACT) in request.url.path
        return httpx.Response(204 if known else 404, json=None if known else {"detail": "unknown"})

    transport = httpx.MockTransport(answer)
    with SyncPrefectClient("http://server/api", httpx_settings={"transport": transport}) as made:
        yield made


def test_artifacts_can_be_patched_by_a_request_of_the_client(client, requests):
    """prefect.client.orchestration.SyncPrefectClient.request."""
    with prefect_contract(
        "SyncPrefectClient.request",
        f"{ADAPTER} replace_artifact_data",
        "to change an artifact without an event that holds all of it",
    ):
        path = "/artifacts/{id}"
        client.request("PATCH", path, path_params={"id": ARTIFACT}, json={"data": "new"})
        (sent,) = [each for each in requests if each.method == "PATCH"]
        assert sent.url.path == f"/api/artifacts/{ARTIFACT}"
        assert json.loads(sent.content) == {"data": "new"}
        with pytest.raises(httpx.HTTPStatusError) as caught:
            client.request("PATCH", path, path_params={"id": uuid4()}, json={"data": "new"})
        assert caught.value.response.status_code == httpx.codes.NOT_FOUND


def test_an_artifact_can_be_made_for_a_flow_run_by_id(client):
    """prefect.client.schemas.actions.ArtifactCreate, SyncPrefectClient.create_artifact."""
    with prefect_contract(
        "ArtifactCreate", f"{ADAPTER} create_artifact", "to publish the page from its own thread"
    ):
        from prefect.client.schemas.actions import ArtifactCreate

        artifact = ArtifactCreate(
            key="a", type="markdown", description="b", data="c", flow_run_id=uuid4()
        )
        assert accepts(client.create_artifact, artifact)


def test_types_of_notification_blocks_are_known_once_their_module_is_imported():
    """prefect.blocks.notifications, prefect.blocks.core.Block.load and UnknownBlockType."""
    with prefect_contract(
        "prefect.blocks", f"{ADAPTER} load_notification_block", "to notify by a block"
    ):
        import prefect.blocks.notifications  # noqa: F401
        from prefect.blocks.core import Block, UnknownBlockType
        from prefect.utilities.dispatch import lookup_type

        assert hasattr(lookup_type(Block, "slack-webhook"), "notify")
        assert issubclass(UnknownBlockType, Exception)
        assert accepts(Block.load, "slack-webhook/lab")


# Processes


def test_the_servers_application_can_do_without_ui_and_services():
    """prefect.server.api.server.create_app."""
    with prefect_contract(
        "create_app", f"{ADAPTER} server_application", "to serve on a socket of ours"
    ):
        from prefect.server.api.server import create_app

        assert accepts(create_app, ephemeral=True, final=True)


def test_a_worker_starts_runs_as_its_job_configuration_says():
    """prefect.workers.process: ProcessWorker.job_configuration, prepare_for_flow_run."""
    with prefect_contract(
        "ProcessJobConfiguration.prepare_for_flow_run",
        f"{ADAPTER} process_worker",
        "to start one process of ours for each run",
    ):
        from prefect.client.schemas.objects import FlowRun

        from flows.adapters.prefect_adapter import process_worker

        worker = process_worker("pool", 2, ["python", "-m", "a b"], Path("/"), {"f": "m:f"})
        made = worker.job_configuration()
        made.prepare_for_flow_run(FlowRun(flow_id=uuid4()))
        assert made.command == "python -m 'a b'"
        assert made.working_dir == Path("/")
        chosen = worker.job_configuration(command="mine", working_dir="/tmp")
        chosen.prepare_for_flow_run(FlowRun(flow_id=uuid4()))
        assert (chosen.command, chosen.working_dir) == ("mine", Path("/tmp"))


def test_a_worker_names_the_entrypoint_that_a_deployment_lacks():
    """PREFECT__FLOW_ENTRYPOINT, read by prefect.flow_engine.load_flow."""
    with prefect_contract(
        "PREFECT__FLOW_ENTRYPOINT",
        f"{ADAPTER} process_worker",
        "to run deployments that people have duplicated in the UI",
    ):
        from prefect import flow_engine
        from prefect.client.schemas.objects import Flow, FlowRun
        from prefect.client.schemas.responses import DeploymentResponse

        from flows.adapters.prefect_adapter import process_worker

        assert "PREFECT__FLOW_ENTRYPOINT" in inspect.getsource(flow_engine.load_flow)
        worker = process_worker("pool", 2, ["python"], Path("/"), {"f": "m:f"})
        run = FlowRun(flow_id=uuid4())

        def entrypoint(flow: str, own: str | None) -> str | None:
            made = worker.job_configuration()
            deployment = DeploymentResponse(name="d", flow_id=run.flow_id, entrypoint=own)
            made.prepare_for_flow_run(run, deployment=deployment, flow=Flow(name=flow))
            return made.env.get("PREFECT__FLOW_ENTRYPOINT")

        assert entrypoint("f", None) == "m:f"
        assert entrypoint("f", "other:f") is None
        assert entrypoint("g", None) is None


def test_a_worker_counts_its_runs_in_a_limiter():
    """prefect.workers.base.BaseWorker.limiter."""
    with prefect_contract(
        "BaseWorker.limiter",
        f"{ADAPTER} runs_in_progress, refuse_new_runs",
        "to end runs before the worker ends",
    ):
        import anyio
        from prefect.workers.base import BaseWorker

        assert isinstance(BaseWorker.limiter, property)
        assert "anyio.CapacityLimiter" in str(BaseWorker.limiter.fget.__annotations__)

        async def limit():
            limiter = anyio.CapacityLimiter(2)
            limiter.total_tokens = 1
            return limiter.total_tokens, limiter.borrowed_tokens

        assert asyncio.run(limit()) == (1, 0)


def test_a_worker_prints_that_it_has_started():
    """prefect.workers.base.BaseWorker.start."""
    with prefect_contract("BaseWorker.start", f"{ADAPTER} run_worker", "to say that it waits"):
        from prefect.workers.base import BaseWorker

        assert accepts(BaseWorker.start, "worker", printer=print)
        assert 'printer(f"Worker {worker.name!r} started!")' in inspect.getsource(BaseWorker.start)


def test_the_engine_is_a_module_that_runs_the_flow_run_of_a_variable(monkeypatch):
    """python -m prefect.engine, with PREFECT__FLOW_RUN_ID."""
    with prefect_contract("prefect.engine", f"{ADAPTER} run_engine", "to run a deployment's run"):
        monkeypatch.setattr(sys, "argv", ["engine"])
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "no id")
        monkeypatch.delitem(sys.modules, "prefect.engine", raising=False)
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
        assert ended.value.code == 1


def test_a_schedule_can_be_checked_without_a_server():
    """prefect.client.schemas.schedules.CronSchedule, prefect._vendor.croniter."""
    with prefect_contract(
        "CronSchedule, croniter",
        f"{ADAPTER} next_cron_time",
        "to refuse a wrong schedule before anything is deployed",
    ):
        from flows.adapters.prefect_adapter import next_cron_time

        assert next_cron_time("30 1 * * *", "UTC").minute == 30
        for cron, timezone in (("30 1", "UTC"), ("0 0 31 2 *", "UTC"), ("30 1 * * *", "PST8")):
            with pytest.raises(ValueError, match=r"cron|timezone|never"):
                next_cron_time(cron, timezone)
