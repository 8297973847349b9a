"""The flow: one training task for each scene, then the aggregate, which depends on all of them."""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import httpx
from prefect import allow_failure, flow, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectConcurrentFuture
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.adapters.prefect_adapter import State, TerminationSignal, current_flow_run
from flows.notifications.notify import Ending, channels_of, notify_when_finished
from flows.options import FlowOptions
from flows.parameters import values_of, with_flow_parameters
from flows.run_page.page import RunPage
from flows.runner.dispatch import JobsError
from flows.runner.local_cluster import local_cluster
from flows.runner.log_filter import install_task_log_filter
from flows.runner.scene_events import CancelledElsewhereError, SceneEvents
from flows.runner.task_runner import SceneTaskRunner
from flows.runner.tasks import aggregate_experiment, stop_scenes, train_one_scene
from preprocess.faults import MOST_NAMES, FaultsError
from training.cli.parser import command_line_of
from training.execution.local import STOPPING, prepare_launch
from training.execution.merge import AggregateError
from training.execution.run_scene import mark_cancelled
from training.plan.make_plan import make_plan
from training.plan.model import Plan
from training.plan.options import checked_options
from training.plan.scene_decision import is_done
from training.report.scene_rows import collect
from training.system.console import say

STOPS = (KeyboardInterrupt, TerminationSignal, CancelledElsewhereError)

_plan_to_run: ContextVar[Plan | None] = ContextVar("plan_to_run", default=None)
"""The plan that the command line has made; a flow that Prefect starts makes its own."""


def run_plan(options: FlowOptions, plan: Plan) -> State[Any]:
    """Run the flow with a plan that is made already; return the flow run's final state.

    When Prefect's API is lost for good, the state follows from the records. Raises FaultsError,
    with nothing started, when a channel of --notify can't be used.
    """
    channels_of(options.notify)
    if not options.verbose:
        install_task_log_filter()
    given = _plan_to_run.set(plan)
    try:
        # Prefect's types give up on a flow that itself returns a state.
        state: State[Any] = cast("Any", train_scenes)(**values_of(options), return_state=True)
    except httpx.HTTPError as error:
        say(f"Prefect's API was lost ({error}): what follows is what the records say")
        return final_state(plan)
    finally:
        _plan_to_run.reset(given)
    return state


TASK_OPTIONS: dict[str, Any] = {
    # The records are the memory of what was done; Prefect's would be a second one.
    "cache_policy": NO_CACHE,
    "persist_result": False,
    # Nor does Prefect retry by a default that the user has set: `SceneEvents` decides by cause.
    "retries": 0,
    "retry_delay_seconds": 0,
    "refresh_cache": False,
}
UNUSED_STORAGE = Path(tempfile.gettempdir())
"""Where no result is ever written. Without one named, Prefect would load the user's default, and
the flow would fail where that storage is not there."""

train_scene = task(name="train-scene", task_run_name="{scene.name}", **TASK_OPTIONS)(
    train_one_scene
)
aggregate = task(name="aggregate", task_run_name="aggregate", **TASK_OPTIONS)(aggregate_experiment)


@flow(
    name="train-scenes",
    flow_run_name="{exp_name}",
    validate_parameters=False,
    retries=0,
    retry_delay_seconds=0,
    persist_result=False,
    result_storage=UNUSED_STORAGE,
    result_serializer="pickle",
)
@with_flow_parameters
def train_scenes(**values: Any) -> State[Any]:
    """Train the chosen scenes, then summarise their experiment; the records decide how it ends."""
    with notify_when_finished(str(values["exp_name"])) as ending:
        ending.state = _train_scenes(values, ending)
        return ending.state


def _train_scenes(values: dict[str, Any], ending: Ending) -> State[Any]:
    try:
        options = checked_options(FlowOptions, values)
        ending.channels = channels_of(options.notify)
        get_run_logger().info("the same from a terminal: %s", _command(options))
        plan = _plan_to_run.get() or _make_plan(options)
        prepare_launch(plan)
        ending.plan = plan
    except FaultsError as error:
        return Failed(message=f"nothing was started: {error}")
    _tag_flow_run(f"exp:{plan.exp_name}", f"cluster:{options.cluster}")
    with _run_page(plan) as page:
        return page.final(_run(plan, page))


def _run(plan: Plan, page: RunPage) -> State[Any]:
    try:
        with _slurm_jobs(plan):
            _aggregate(plan, _train(plan, page))
            return final_state(plan)
    except STOPS:
        stop_scenes()
        return Cancelled(message="stopped on request")
    except FaultsError as error:
        return Failed(message=f"nothing was started: {error}")
    except (JobsError, AggregateError) as error:
        return final_state(plan, str(error))


difix_data = train_scenes.with_options(name="difix-data")
"""The same flow under the name of its deployments in the UI; the parameters say what it does."""


def _command(options: FlowOptions) -> str:
    """Return the command line that does the same as a flow run with these options."""
    return shlex.join(["python", "-m", "flows.train", *command_line_of(options)])


def _make_plan(options: FlowOptions) -> Plan:
    """Make the plan of a run that Prefect's UI or a schedule has started, always without --verbose.

    Raises FaultsError.
    """
    install_task_log_filter()
    plan = make_plan(options)
    for warning in plan.warnings:  # a command line shows them in its header
        say(f"warning: {warning}")
    if plan.slurm is None:
        return plan
    from flows.slurm.preflight import reconcile_with_slurm

    plan, warnings = reconcile_with_slurm(plan)
    for warning in warnings:
        say(warning)
    return plan


def _slurm_jobs(plan: Plan) -> AbstractContextManager[None]:
    """Provide what all Slurm jobs of a plan need; nothing where it has none."""
    if plan.slurm is None:
        return nullcontext()
    from flows.slurm.runners import slurm_jobs

    return slurm_jobs(plan)


def final_state(plan: Plan, fault: str = "") -> State[Any]:
    """Return Completed if every chosen scene is done by its record, else Failed, naming the rest.

    `fault` is what else went wrong; it makes the state Failed, too.
    """
    rows = {row.scene: row for row in collect(*plan.experiment)}
    missing = [
        f"{scene.name} ({rows[scene.name].cause or rows[scene.name].state})"
        for scene in plan.scenes
        if not is_done(scene)
    ]
    count = f"{len(plan.scenes) - len(missing)} of {len(plan.scenes)} scenes done"
    idle = "" if plan.of("run") else "nothing to do: "
    named = ", ".join(missing[:MOST_NAMES] + ["…"] * (len(missing) > MOST_NAMES))
    faults = [f"not done: {named}"] * bool(missing) + [fault] * bool(fault)
    if faults:
        return Failed(message="; ".join([count, *faults]))
    return Completed(message=idle + count)


def _tag_flow_run(*names: str) -> None:
    """Tag the flow run, not its task runs: each would ask the server for concurrency limits."""
    if run := current_flow_run():
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags={*run.tags, *names})


def _run_page(plan: Plan) -> RunPage:
    run = current_flow_run()
    if run is None:
        raise RuntimeError("outside of a flow run")
    return RunPage(plan, run.id, get_run_logger())


def _train(plan: Plan, page: RunPage) -> list[PrefectConcurrentFuture[Any]]:
    """Run the scenes that are to run on a cluster of their own; return when all have ended.

    Raises JobsError when no Slurm job can be had, one of `STOPS` when the flow is to stop.
    """
    scenes = plan.of("run")
    if not scenes:
        return []
    events = SceneEvents(plan, [page])
    # A runner of its own, not the flow's: its size comes from the plan, and it is closed, its
    # machines given back, before the aggregate starts.
    with _scene_runner(plan, events) as runner:
        try:
            futures = runner.map(events.with_hooks(train_scene), {"scene": list(scenes)})
            events.wait(futures)
        except STOPS:
            mark_cancelled(plan)  # before the workers go: what ends now ends on request
            say(STOPPING)
            raise
    return futures


def _scene_runner(plan: Plan, events: SceneEvents) -> SceneTaskRunner:
    if plan.slurm is not None:
        from flows.slurm.runners import scene_runner

        return scene_runner(plan, events.on_job_granted)
    workers = min(plan.workers, len(plan.of("run")))
    return SceneTaskRunner(
        max_workers=workers,
        cluster_class=local_cluster,
        # A failed scene is reported by its task run, not by a traceback in a worker's log.
        cluster_kwargs={"workers": workers, "gpus": plan.gpus, "log_level": logging.CRITICAL},
    )


def _aggregate(plan: Plan, scenes: Iterable[PrefectConcurrentFuture[Any]]) -> None:
    """Run the aggregate after the scenes; raises AggregateError unless it ends as completed.

    A summary takes what there is; a command that merges the scenes' outputs needs all of them.
    """
    if plan.aggregate is None:
        return
    needs_all = bool(plan.aggregate.command)
    used: list[Any] = [future if needs_all else allow_failure(future) for future in scenes]
    with _aggregate_runner(plan) as runner:
        future: Any = runner.submit(cast("Any", aggregate), {"plan": plan}, wait_for=used)
        future.wait()
    state = future.state
    if not state.is_completed():
        raise AggregateError(f"the aggregate: {state.name} {state.message}")


def _aggregate_runner(plan: Plan) -> TaskRunner[Any]:
    if plan.slurm is not None:
        from flows.slurm.runners import aggregate_runner

        return aggregate_runner(plan)
    return ThreadPoolTaskRunner(max_workers=1)
