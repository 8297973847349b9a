"""What `flows/adapters/prefect_process_adapter.py` uses of Prefect's server, worker and engine.

No server is needed here.
"""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from functools import partial
from multiprocessing import spawn
from pathlib import Path
from uuid import uuid4

import pytest
from contract import accepts, contract

from flows.server.managed import OWN_SERVER_DEFAULTS

ADAPTER = "flows/adapters/prefect_process_adapter.py"
prefect_contract = partial(contract, "prefect")


def test_the_servers_application_can_do_without_ui_and_services():
    """prefect.server.api.server.create_app."""
    with prefect_contract(
        "create_app", f"{ADAPTER} server_application", "to serve on a socket of ours"
    ):
        from prefect.server.api.server import create_app

        assert accepts(create_app, ephemeral=True, final=True)


def test_a_server_that_registers_no_blocks_imports_no_integration(monkeypatch):
    """prefect.server.api.server._memoize_block_auto_registration, of its lifespan."""
    with prefect_contract(
        "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION",
        "flows/server/managed.py OWN_SERVER_DEFAULTS",
        "to start a server without importing Dask",
    ):
        from prefect import plugins
        from prefect.server.api import server
        from prefect.settings import PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION, temporary_settings

        def fail(*_):
            raise AssertionError("integrations are imported")

        async def register():
            pass

        monkeypatch.setattr(plugins, "load_prefect_collections", fail)
        name = PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION.name
        assert OWN_SERVER_DEFAULTS[name] == "false"
        with temporary_settings({PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION: False}):
            asyncio.run(server._memoize_block_auto_registration(register)())


def test_a_worker_starts_runs_as_its_job_configuration_says():
    """prefect.workers.process: ProcessWorker.job_configuration, prepare_for_flow_run."""
    with prefect_contract(
        "ProcessJobConfiguration.prepare_for_flow_run",
        f"{ADAPTER} process_worker",
        "to start one process of ours for each run",
    ):
        from prefect.client.schemas.objects import FlowRun

        from flows.adapters.prefect_process_adapter import process_worker

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

        from flows.adapters.prefect_process_adapter import process_worker

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


def test_a_run_may_be_executed_by_a_process_that_was_there_before(monkeypatch):
    """prefect.utilities.processutils.open_process, prefect.runner._starter_engine.

    It is asked for with what a new one would be started with; only what begins with PREFECT__ is
    the run's own. Where there is none, the worker starts one.
    """
    with prefect_contract(
        "open_process, EngineCommandStarter",
        f"{ADAPTER} offer_processes, process_opener, environment_of_runs",
        "to execute a run by a process that has imported everything",
    ):
        import anyio
        from prefect.client.schemas.objects import FlowRun
        from prefect.runner._starter_engine import EngineCommandStarter
        from prefect.utilities import processutils

        from flows.adapters import prefect_process_adapter as adapter

        monkeypatch.setattr(processutils, "open_process", processutils.open_process)
        start, asked = adapter.process_opener(), []

        async def offer(command, **options):
            asked.append((command, options))
            return start([sys.executable, "-c", "raise SystemExit(7)"]) if not asked[1:] else None

        async def execute():
            adapter.offer_processes(offer)
            command = [sys.executable, "-c", "raise SystemExit(8)"]
            made = adapter.process_worker("pool", 1, command, Path("/"), {}).job_configuration()
            made.prepare_for_flow_run(FlowRun(flow_id=uuid4()))
            starter = EngineCommandStarter(command=made.command, cwd=Path("/"), env=made.env)
            async with anyio.create_task_group() as group:
                handles = [await group.start(starter.start, FlowRun(flow_id=uuid4())) for _ in "ab"]
            return command, [handle.returncode for handle in handles]

        command, statuses = asyncio.run(execute())
        assert statuses == [7, 8]
        (given, options), _ = asked
        assert given == command
        pipe = subprocess.PIPE
        assert options.keys() == {"env", "cwd", "stdout", "stderr"}
        assert (options["cwd"], options["stdout"], options["stderr"]) == (Path("/"), pipe, pipe)
        own = {name for name in options["env"] if name.startswith("PREFECT__")}
        assert "PREFECT__FLOW_RUN_ID" in own
        others = {name: value for name, value in options["env"].items() if name not in own}
        assert others == adapter.environment_of_runs()


def test_the_engine_is_a_module_that_runs_the_flow_run_of_a_variable(monkeypatch):
    """python -m prefect.engine, with PREFECT__FLOW_RUN_ID."""
    with prefect_contract("prefect.engine", f"{ADAPTER} run_engine", "to run a deployment's run"):
        from flows.adapters.prefect_process_adapter import run_engine

        monkeypatch.setattr(sys, "argv", ["engine", "--option"])
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "no id")
        monkeypatch.delitem(sys.modules, "prefect.engine", raising=False)
        with pytest.raises(SystemExit) as ended:
            run_engine()
        assert ended.value.code == 1
        assert "--option" not in sys.argv


def test_what_the_engine_spawns_does_not_import_prefect(monkeypatch):
    """multiprocessing imports the module again that is `__main__`: Dask's workers pay for it."""
    with prefect_contract("prefect.engine", f"{ADAPTER} run_engine", "to start Dask workers soon"):
        from prefect.logging import loggers

        from flows.adapters.prefect_process_adapter import run_engine

        def main_of_children() -> str | None:
            return spawn.get_preparation_data("child").get("init_main_from_name")

        def get_logger(name):
            found.append(main_of_children())
            return make_logger(name)

        found: list[str | None] = []
        before, make_logger = main_of_children(), loggers.get_logger
        monkeypatch.setattr(loggers, "get_logger", get_logger)
        monkeypatch.setattr(sys, "argv", ["engine"])
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "no id")
        with pytest.raises(SystemExit):
            run_engine()
        assert found == [before]
