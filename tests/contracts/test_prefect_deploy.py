"""What `flows/adapters/prefect_deploy_adapter.py` uses of Prefect; no server is needed here."""

from __future__ import annotations

from functools import partial

import pytest
from contract import accepts, contract

ADAPTER = "flows/adapters/prefect_deploy_adapter.py"
prefect_contract = partial(contract, "prefect")


def test_the_forms_schema_needs_no_flow():
    """prefect.utilities.callables.parameter_schema: the same for a bare function."""
    with prefect_contract(
        "parameter_schema", f"{ADAPTER} parameter_schema_of", "to deploy without importing the flow"
    ):
        from prefect import flow

        from flows.adapters.prefect_deploy_adapter import parameter_schema_of
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

        from flows.adapters.prefect_deploy_adapter import fill_in

        assert accepts(run_steps, [], {}, print_function=print)
        monkeypatch.setenv("TS_OF_A_STEP", "1")
        given = {"a": "{{ id.out }}", "b": "{{ $TS_OF_A_STEP }}", "c": "{{ ctx.x }}"}
        filled = fill_in(given, {"id": {"out": {"k": "v"}}})
        assert filled == {"a": {"k": "v"}, "b": "1", "c": "{{ ctx.x }}"}


def test_a_schedule_can_be_checked_without_a_server():
    """prefect.client.schemas.schedules.CronSchedule, prefect._vendor.croniter."""
    with prefect_contract(
        "CronSchedule, croniter",
        f"{ADAPTER} next_cron_time",
        "to refuse a wrong schedule before anything is deployed",
    ):
        from flows.adapters.prefect_deploy_adapter import next_cron_time

        assert next_cron_time("30 1 * * *", "UTC").minute == 30
        for cron, timezone in (("30 1", "UTC"), ("0 0 31 2 *", "UTC"), ("30 1 * * *", "PST8")):
            with pytest.raises(ValueError, match=r"cron|timezone|never"):
                next_cron_time(cron, timezone)
