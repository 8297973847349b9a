"""The tasks of one plan in a flow run: one for each scene, then the aggregate of all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prefect import allow_failure, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectConcurrentFuture
from prefect.states import Cancelled, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.adapters.prefect_adapter import FlowRun, State, TerminationSignal, quote
from flows.run_page.page import RunPage
from flows.runner.dead_runs import note_run
from flows.runner.dispatch import JobsError
from flows.runner.final_state import final_state
from flows.runner.gpu_dispatch import local_runner
from flows.runner.scene_events import (
    CancelledElsewhereError,
    SceneEvents,
    aggregates_again,
    task_prefix,
)
from flows.runner.task_runner import SceneTaskRunner
from flows.runner.tasks import aggregate_experiment, stop_scenes, train_one_scene
from preprocess.faults import FaultsError
from training.execution.local import STOPPING
from training.execution.merge import AggregateError
from training.execution.run_scene import mark_cancelled
from training.jobs.flow_claim import flow_claimed
from training.plan.model import Plan, ScenePlan
from training.report.report_client import start_report_writer
from training.system.console import say

if TYPE_CHECKING:
    from flows.slurm.worker_jobs import WorkerJobs

STOPS = (KeyboardInterrupt, TerminationSignal, CancelledElsewhereError)

Made = dict[Path, PrefectConcurrentFuture[Any]]
"""The task runs of this flow run that made each output folder, or merged what is in it."""

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


def run_tasks(
    plan: Plan,
    run: FlowRun,
    page: RunPage,
    made: Made,
    claims: ExitStack,
    *,
    jobs: WorkerJobs | None,
) -> State[Any]:
    """Train a plan's scenes, then run its aggregate; return the final state, by the records.

    The plan's claim is entered into `claims`, and lasts as long. `jobs`: its Slurm jobs, where they
    are submitted already. The scenes' task runs depend on those in `made` that made what they use,
    and are added to it.
    """
    try:
        claims.enter_context(_claimed(plan, jobs))
        note_run(plan, run)
        _aggregate(plan, _train(plan, page, made, jobs), made)
        return final_state(plan)
    except STOPS:
        stop_scenes()
        return Cancelled(message="stopped on request")
    except FaultsError as error:
        return Failed(message=f"nothing was started: {error}")
    except (JobsError, AggregateError) as error:
        return final_state(plan, str(error))


def _claimed(plan: Plan, jobs: WorkerJobs | None) -> AbstractContextManager[None]:
    """Claim a plan for this flow, and provide what all its Slurm jobs need, unless that is done."""
    if plan.slurm is None:
        return flow_claimed(plan)
    if jobs:
        return nullcontext()
    from flows.slurm.worker_jobs import slurm_jobs

    return slurm_jobs(plan)


def _train(
    plan: Plan, page: RunPage, made: Made, jobs: WorkerJobs | None
) -> list[PrefectConcurrentFuture[Any]]:
    """Run a plan's scenes, on a cluster of their own; return their task runs when all have ended.

    Each depends on the task runs that made what it uses, and is added to `made`.
    Raises JobsError when no Slurm job can be had, one of `STOPS` when the flow is to stop.
    """
    scenes = plan.of("run")
    if not scenes:
        return []
    events = SceneEvents(plan, [page], page.has_task_run)
    # A runner of its own, not the flow's: its size comes from the plan, and it is closed, its
    # machines given back, before the aggregate starts.
    with _scene_runner(plan, events, jobs) as runner:
        try:
            task_of_scene = events.with_hooks(train_scene)

            def submit(scene: ScenePlan) -> PrefectConcurrentFuture[Any]:
                makers = _makers(scene, made)
                # Quoted: in parameters that it looks into, Prefect takes any object that it has
                # seen in a result, such as an empty text, for a dependency, and draws an edge.
                return runner.submit(task_of_scene, {"scene": quote(scene)}, wait_for=makers)

            if plan.aggregate is not None and not plan.aggregate.command:
                start_report_writer(plan)
            futures = events.run(scenes, submit, runner.max_workers)
        except STOPS:
            mark_cancelled(plan)  # before the workers go: what ends now ends on request
            say(STOPPING)
            raise
    made.update((scene.output, each) for scene, each in zip(scenes, futures, strict=False))
    return futures


def _makers(scene: ScenePlan, made: Made) -> list[PrefectConcurrentFuture[Any]]:
    found = [made[folder] for folder in scene.made_from if folder in made]
    return list({future.task_run_id: future for future in found}.values())


def _scene_runner(
    plan: Plan, events: SceneEvents, jobs: WorkerJobs | None
) -> AbstractContextManager[SceneTaskRunner]:
    if plan.slurm is not None:
        from flows.slurm.runners import job_runner
        from flows.slurm.worker_jobs import scene_jobs

        return job_runner(jobs or scene_jobs(plan), events.on_job_granted, events.sharing)
    return local_runner(plan, events)


def _aggregate(plan: Plan, scenes: Iterable[PrefectConcurrentFuture[Any]], made: Made) -> None:
    """Run the aggregate after the scenes; raises AggregateError unless it ends as completed.

    A summary takes what there is; a command that merges the scenes' outputs needs all of them, and
    what is made from them comes after it.
    """
    if plan.aggregate is None:
        return
    needs_all = bool(plan.aggregate.command)
    used: list[Any] = [future if needs_all else allow_failure(future) for future in scenes]
    with _aggregate_runner(plan) as runner:
        named = aggregate.with_options(
            task_run_name=f"{task_prefix(plan)}aggregate",
            retries=plan.max_retries,
            retry_condition_fn=lambda _, run, state: aggregates_again(plan, run, state),
        )
        future: Any = runner.submit(cast("Any", named), {"plan": quote(plan)}, wait_for=used)
        future.wait()
    state = future.state
    if not state.is_completed():
        raise AggregateError(f"the aggregate: {state.name} {state.message}")
    if needs_all:
        made.update((scene.output, future) for scene in plan.scenes)


def _aggregate_runner(plan: Plan) -> AbstractContextManager[TaskRunner[Any]]:
    """Return a runner of the aggregate: a summary is written here, a merge has a job on Slurm."""
    if plan.slurm is not None and plan.aggregate and plan.aggregate.command:
        from flows.slurm.runners import job_runner
        from flows.slurm.worker_jobs import merge_job

        return job_runner(merge_job(plan))
    return ThreadPoolTaskRunner(max_workers=1)
