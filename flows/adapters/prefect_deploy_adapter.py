"""Prefect: what a deploy needs of it beside its API: schedules, the form's schema, steps.

The functions import what they need of Prefect, which reads its settings at that moment. Each name
here has a test in `tests/contracts/test_prefect_deploy.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from preprocess.faults import Fault, FaultsError


def next_cron_time(cron: str, timezone: str) -> datetime:
    """Return when a schedule fires next; raises ValueError if Prefect refuses it or it never does.

    Prefect takes a day that no month has, as the 31st of February, and its scheduler then fails.
    """
    from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
    from prefect.client.schemas.schedules import CronSchedule

    schedule = CronSchedule(cron=cron, timezone=timezone)
    times = croniter(schedule.cron, datetime.now(ZoneInfo(timezone)))
    try:
        found: datetime = times.get_next(datetime)
    except CroniterBadDateError as error:
        raise ValueError("such a day never comes") from error
    return found


def parameter_schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the schema of a flow's parameters, the UI's form, given a function of its signature.

    Importing the flow itself takes as long as importing Prefect.
    """
    from prefect.utilities.callables import parameter_schema

    schema: dict[str, Any] = parameter_schema(function).model_dump(exclude_unset=True)
    return schema


def run_deploy_steps(steps: Sequence[dict[str, Any]], outputs: dict[str, Any]) -> dict[str, Any]:
    """Run the build and push steps of a prefect.yaml; return their outputs by step id.

    `outputs` are those of earlier steps. Prefect asks the server for blocks that steps name.
    Raises FaultsError when a step fails.
    """
    from prefect.deployments.steps.core import StepExecutionError, run_steps
    from prefect.utilities.asyncutils import run_coro_as_sync

    try:
        found: dict[str, Any] = run_coro_as_sync(
            run_steps(list(steps), outputs, print_function=lambda *_, **__: None)
        )
    except StepExecutionError as error:
        raise FaultsError([Fault(str(error), str(error.__cause__))]) from error
    return found


def fill_in(values: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """Replace the placeholders of a prefect.yaml, as in `{{ id.output }}` and `{{ $VARIABLE }}`.

    Blocks, Prefect's variables and a run's `ctx` are left for when a run starts.
    """
    from prefect.utilities.templating import apply_values

    filled: Any = apply_values(values, dict(os.environ), remove_notset=False)
    filled = apply_values(filled, outputs, remove_notset=False)
    return dict(filled)
