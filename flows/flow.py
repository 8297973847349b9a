"""The flow: one training task a scene, then the aggregate, with the graph's edges between them."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any, cast

import httpx
from prefect import allow_failure, flow, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectConcurrentFuture
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import Task

from flows.bodies import NotStartedError, SceneNotDoneError, train_one_scene
from flows.clusters import local_cluster
from flows.options import FlowOptions
from flows.task_runner import SceneTaskRunner
from flows.workers import WorkerLostError
from preprocess.faults import FaultsError
from training.display import Display, say
from training.execute import mark_cancelled
from training.local import STOPPING, start
from training.options import checked_options
from training.outcome import Outcome
from training.plan import Plan, ScenePlan
from training.planning import is_done, make_plan
from training.records import Cause
from training.retries import starts_again
from training.summary import collect, summarise

SHOW_EVERY_S = 1.0

_made_plans: dict[FlowOptions, Plan] = {}
"""Plans that the command line has made already, for the flow run with the same options."""


def run_plan(options: FlowOptions, plan: Plan) -> State[Any]:
    """Run a plan that is made already; when Prefect's API is lost for good, the records decide."""
    _made_plans[options] = plan
    try:
        # Typed by hand: Prefect's types give up on a flow that itself returns a state.
        state: State[Any] = cast("Any", train_scenes)(**options.model_dump(), return_state=True)
    except httpx.HTTPError as error:
        say(f"Prefect's API was lost ({error}): what follows is what the records say")
        return final_state(plan)
    return state


def with_parameters_of(
    model: type[FlowOptions],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a function of `**values` the fields of a model as its parameters, for Prefect to see."""

    def give(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if info.is_required() else info.default,
                annotation=info.annotation,
            )
            for name, info in model.model_fields.items()
        ]
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return function

    return give


# The records are the memory of what was done; Prefect's would be a second one.
NO_MEMORY: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

train_scene = task(name="train-scene", task_run_name="{scene.name}", **NO_MEMORY)(train_one_scene)


@task(name="aggregate", task_run_name="aggregate", **NO_MEMORY)
def aggregate(plan: Plan) -> str:
    """Summarise the experiment from its records; the report's path."""
    return str(summarise(plan.roots, plan.exp_name, _names(plan)).report)


@flow(name="train-scenes", flow_run_name="{exp_name}", validate_parameters=False)
@with_parameters_of(FlowOptions)
def train_scenes(**values: Any) -> State[Any]:
    """Train the chosen scenes, then summarise their experiment; ends as the records say."""
    try:
        options = checked_options(FlowOptions, values)
        plan = _made_plans.pop(options, None) or make_plan(options)
        start(plan)
    except FaultsError as error:
        return Failed(message=f"nothing was started: {error}")
    _tag_flow_run(f"exp:{plan.exp_name}", f"cluster:{options.cluster}")
    try:
        futures = _train(plan)
    except (KeyboardInterrupt, TerminationSignal):
        return Cancelled(message="stopped on request")
    used = [allow_failure(future) for future in futures]
    aggregate.submit(plan, wait_for=used, return_state=False).wait()
    return final_state(plan)


def final_state(plan: Plan) -> State[Any]:
    """Completed only if every chosen scene is done by its record; else Failed, naming the rest."""
    rows = {row.scene: row for row in collect(plan.roots, plan.exp_name, _names(plan))}
    missing = [
        f"{scene.name} ({rows[scene.name].cause or rows[scene.name].status})"
        for scene in plan.scenes
        if not is_done(scene)
    ]
    count = f"{len(plan.scenes) - len(missing)} of {len(plan.scenes)} scenes done"
    if missing:
        return Failed(message=f"{count}; not done: {', '.join(missing)}")
    return Completed(message=count)


def _names(plan: Plan) -> list[str]:
    return [scene.name for scene in plan.scenes]


def _tag_flow_run(*names: str) -> None:
    """Tag the run itself; tagged task runs would each ask the server for concurrency limits."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, tags={*context.flow_run.tags, *names})


def _train(plan: Plan) -> list[PrefectConcurrentFuture[Any]]:
    """Run the scenes that are to run on a cluster of their own; returns when all have ended."""
    scenes = plan.of("run")
    if not scenes:
        return []
    watch = _Watch(plan)
    workers = min(plan.workers, len(scenes))
    runner = SceneTaskRunner(
        max_workers=workers,
        cluster_class=local_cluster,
        # A scene that fails is told by its task run, not by a traceback in a worker's log.
        cluster_kwargs={"workers": workers, "gpus": plan.gpus, "log_level": logging.CRITICAL},
    )
    # A runner of its own, not the flow's: its size comes from the plan, and it is closed, its
    # machines given back, before the aggregate starts.
    with runner:
        try:
            mapped: Any = runner.map(watch.watched(train_scene), {"scene": list(scenes)})
            futures: list[PrefectConcurrentFuture[Any]] = list(mapped)
            watch.wait(futures)
        except (KeyboardInterrupt, TerminationSignal):
            mark_cancelled(plan)  # before the workers go: what ends now ends on request
            say(STOPPING)
            raise
    return futures


class _Watch:
    """What happens to the scenes of one flow run: shown, counted, started again by their cause."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scenes = {scene.name: scene for scene in plan.scenes}
        self._display = Display(len(plan.of("run")))
        self._lock = threading.Lock()
        self._failures = 0

    def watched(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """The task with this flow run's hooks and retries."""
        return task.with_options(
            retries=self._plan.max_retries,
            # Prefect wants plain functions here: it tells methods apart by inspection.
            retry_condition_fn=lambda _, task_run, state: self._starts_again(task_run, state),
            on_running=[lambda _task, task_run, _state: self._started(task_run)],
            on_completion=[lambda _, task_run, state: self._ended(task_run, state)],
            on_failure=[lambda _, task_run, state: self._failed(task_run, state)],
        )

    def wait(self, futures: Iterable[PrefectConcurrentFuture[Any]]) -> None:
        """Wait for all task runs, showing what goes on meanwhile; asks the server nothing."""
        left = {future.wrapped_future for future in futures}
        while left:
            left = wait(left, timeout=SHOW_EVERY_S, return_when=FIRST_COMPLETED).not_done
            self._display.refresh()

    def _no_more_starts(self) -> bool:
        """Task runs that are left pass through their states without a scene being started."""
        return self._plan.cancelled.exists() or self._plan.enough_failures.exists()

    def _started(self, task_run: TaskRun) -> None:
        if self._no_more_starts():
            return
        self._display.started(self._scenes[task_run.name], task_run.run_count)

    def _ended(self, task_run: TaskRun, state: State[Any]) -> None:
        scene = self._scenes[task_run.name]
        self._display.ended(scene, outcome_of(scene, state.result(raise_on_failure=False)))

    def _failed(self, task_run: TaskRun, state: State[Any]) -> None:
        if isinstance(state.result(raise_on_failure=False), NotStartedError):
            return
        self._ended(task_run, state)
        with self._lock:
            self._failures += 1
            if self._failures == self._plan.max_failures:
                self._plan.enough_failures.touch()

    def _starts_again(self, task_run: TaskRun, state: State[Any]) -> bool:
        scene = self._scenes[task_run.name]
        outcome = outcome_of(scene, state.data)
        starts, limit = task_run.run_count, self._plan.max_retries
        again = outcome.cause is not None and starts_again(
            outcome.cause, starts, limit, outcome.has_checkpoint
        )
        if again:
            self._display.ended(scene, outcome)
        return again


def outcome_of(scene: ScenePlan, result: Any) -> Outcome:
    """What became of a start, from the result or the exception of its task run."""
    if isinstance(result, Outcome):
        return result
    if isinstance(result, SceneNotDoneError):
        return result.outcome
    cause = Cause.WORKER_LOST if isinstance(result, WorkerLostError) else None
    return Outcome(
        scene=scene.name, status="failed", cause=cause, message=str(result), log=scene.log
    )
