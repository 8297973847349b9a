"""The flow: one training task a scene, then the aggregate, with the graph's edges between them."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import httpx
from prefect import allow_failure, flow, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectConcurrentFuture
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.notifications.notify import Ending, channels_of, notify_when_finished
from flows.options import FlowOptions
from flows.parameters import values_of, with_flow_parameters
from flows.run_page.page import RunPage
from flows.runner.dispatch import JobsError
from flows.runner.local_cluster import local_cluster
from flows.runner.log_filter import install_task_log_filter
from flows.runner.scene_events import CancelledElsewhereError, SceneWatch
from flows.runner.task_runner import SceneTaskRunner
from flows.runner.tasks import aggregate_experiment, stop_scenes, train_one_scene
from preprocess.faults import MOST_NAMES, FaultsError
from training.cli.parser import command_line_of
from training.execution.local import STOPPING, start
from training.execution.run_scene import mark_cancelled
from training.plan.make_plan import make_plan
from training.plan.model import Plan
from training.plan.options import checked_options
from training.plan.scene_decision import is_done
from training.report.summary import collect
from training.system.console import say

STOPS = (KeyboardInterrupt, TerminationSignal, CancelledElsewhereError)

_made_plans: dict[str, Plan] = {}
"""Plans that the command line has made already, for the flow run with the same parameters."""


def run_plan(options: FlowOptions, plan: Plan) -> State[Any]:
    """Run a plan that is made already; when Prefect's API is lost for good, the records decide.

    Raises FaultsError, with nothing started, when whom --notify names can't be told.
    """
    channels_of(options.notify)
    if not options.verbose:
        install_task_log_filter()
    values = values_of(options)
    _made_plans[json.dumps(values)] = plan
    try:
        # Typed by hand: Prefect's types give up on a flow that itself returns a state.
        state: State[Any] = cast("Any", train_scenes)(**values, return_state=True)
    except httpx.HTTPError as error:
        say(f"Prefect's API was lost ({error}): what follows is what the records say")
        return final_state(plan)
    return state


# The records are the memory of what was done; Prefect's would be a second one.
NO_MEMORY: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

train_scene = task(name="train-scene", task_run_name="{scene.name}", **NO_MEMORY)(train_one_scene)


aggregate = task(name="aggregate", task_run_name="aggregate", **NO_MEMORY)(aggregate_experiment)


@flow(name="train-scenes", flow_run_name="{exp_name}", validate_parameters=False)
@with_flow_parameters
def train_scenes(**values: Any) -> State[Any]:
    """Train the chosen scenes, then summarise their experiment; ends as the records say."""
    with notify_when_finished(str(values["exp_name"])) as ending:
        ending.state = _train_scenes(values, ending)
        return ending.state


def _train_scenes(values: dict[str, Any], ending: Ending) -> State[Any]:
    try:
        options = checked_options(FlowOptions, values)
        ending.channels = channels_of(options.notify)
        get_run_logger().info("the same from a terminal: %s", _command(options))
        plan = _made_plans.pop(json.dumps(values_of(options)), None) or _planned(options)
        start(plan)
        ending.plan = plan
    except FaultsError as error:
        return Failed(message=f"nothing was started: {error}")
    _tag_flow_run(f"exp:{plan.exp_name}", f"cluster:{options.cluster}")
    with _run_page(plan) as page:
        return page.final(_run(plan, page))


def _run(plan: Plan, page: RunPage) -> State[Any]:
    try:
        with _place(plan):
            return final_state(plan, _aggregate(plan, _train(plan, page)))
    except STOPS:
        stop_scenes()
        return Cancelled(message="stopped on request")
    except FaultsError as error:
        return Failed(message=f"nothing was started: {error}")
    except JobsError as error:
        return final_state(plan, str(error))


difix_data = train_scenes.with_options(name="difix-data")
"""The same under the name that its deployments have in the UI; what it does its parameters say."""


def _command(options: FlowOptions) -> str:
    return shlex.join(["python", "-m", "flows.train", *command_line_of(options)])


def _planned(options: FlowOptions) -> Plan:
    """A plan for a run that Prefect's UI or a schedule has started; nobody asked for --verbose."""
    install_task_log_filter()
    plan = make_plan(options)
    if plan.slurm is None:
        return plan
    from flows.slurm.preflight import as_it_stands

    plan, warnings = as_it_stands(plan)
    for warning in warnings:
        say(warning)
    return plan


def _place(plan: Plan) -> AbstractContextManager[None]:
    """What the plan's cluster needs around its runners."""
    if plan.slurm is None:
        return nullcontext()
    from flows.slurm.runners import slurm_jobs

    return slurm_jobs(plan)


def final_state(plan: Plan, fault: str = "") -> State[Any]:
    """Completed only if every chosen scene is done by its record; else Failed, naming the rest.

    `fault` is what else went wrong.
    """
    rows = {row.scene: row for row in collect(*plan.experiment)}
    missing = [
        f"{scene.name} ({rows[scene.name].cause or rows[scene.name].status})"
        for scene in plan.scenes
        if not is_done(scene)
    ]
    count = f"{len(plan.scenes) - len(missing)} of {len(plan.scenes)} scenes done"
    idle = "" if plan.of("run") else "nothing to do: "
    named = ", ".join(missing[:MOST_NAMES] + ["…"] * (len(missing) > MOST_NAMES))
    faults = [f"not done: {named}"] * bool(missing) + [fault] * bool(fault)
    return (
        Failed(message="; ".join([count, *faults])) if faults else Completed(message=idle + count)
    )


def _tag_flow_run(*names: str) -> None:
    """Tag the run itself; tagged task runs would each ask the server for concurrency limits."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, tags={*context.flow_run.tags, *names})


def _run_page(plan: Plan) -> RunPage:
    run = FlowRunContext.get()
    if run is None or run.flow_run is None:
        raise RuntimeError("outside of a flow run")
    return RunPage(plan, run.flow_run.id, get_run_logger())


def _train(plan: Plan, page: RunPage) -> list[PrefectConcurrentFuture[Any]]:
    """Run the scenes that are to run on a cluster of their own; returns when all have ended."""
    scenes = plan.of("run")
    if not scenes:
        return []
    watch = SceneWatch(plan, [page])
    # A runner of its own, not the flow's: its size comes from the plan, and it is closed, its
    # machines given back, before the aggregate starts.
    with _scene_runner(plan, watch) as runner:
        try:
            mapped: Any = runner.map(watch.watched(train_scene), {"scene": list(scenes)})
            futures: list[PrefectConcurrentFuture[Any]] = list(mapped)
            watch.wait(futures)
        except STOPS:
            mark_cancelled(plan)  # before the workers go: what ends now ends on request
            say(STOPPING)
            raise
    return futures


def _scene_runner(plan: Plan, watch: SceneWatch) -> SceneTaskRunner:
    if plan.slurm is not None:
        from flows.slurm.runners import scene_runner

        return scene_runner(plan, watch.on_job_granted)
    workers = min(plan.workers, len(plan.of("run")))
    return SceneTaskRunner(
        max_workers=workers,
        cluster_class=local_cluster,
        # A scene that fails is told by its task run, not by a traceback in a worker's log.
        cluster_kwargs={"workers": workers, "gpus": plan.gpus, "log_level": logging.CRITICAL},
    )


def _aggregate(plan: Plan, scenes: Iterable[PrefectConcurrentFuture[Any]]) -> str:
    """Run the aggregate after the scenes; what went wrong with it, or nothing.

    A summary takes what there is; what merges the scenes' outputs needs all of them.
    """
    if plan.aggregate is None:
        return ""
    needs_all = bool(plan.aggregate.command)
    used: list[Any] = [future if needs_all else allow_failure(future) for future in scenes]
    with _aggregate_runner(plan) as runner:
        future: Any = runner.submit(cast("Any", aggregate), {"plan": plan}, wait_for=used)
        future.wait()
    state = future.state
    return "" if state.is_completed() else f"the aggregate: {state.name} {state.message}"


def _aggregate_runner(plan: Plan) -> TaskRunner[Any]:
    if plan.slurm is not None:
        from flows.slurm.runners import aggregate_runner

        return aggregate_runner(plan)
    return ThreadPoolTaskRunner(max_workers=1)
