"""The flow: one training task for each scene, then the aggregate, which depends on all of them.

With `loop` one flow run does so for each stage, and the edges between its tasks show what was made
from what.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import httpx
from prefect import Flow, flow, get_client
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Failed

from flows.adapters.prefect_adapter import (
    FlowRun,
    ObjectNotFound,
    State,
    current_flow_run,
    run_parameters,
    typed_run_name,
)
from flows.controller.hand_over import hand_over, has_work
from flows.notifications.notify import Ending, channels_of, notify_when_finished
from flows.options import FlowOptions
from flows.parameters import option_values, values_of, with_flow_parameters
from flows.plan_tasks import UNUSED_STORAGE, Made, run_tasks
from flows.run_page.artifacts import Artifacts
from flows.run_page.page import RunPage
from flows.run_page.refusal_artifact import refusal_artifact
from flows.runner.dead_runs import end_dead_runs
from flows.runner.final_state import final_state, state_of_all
from flows.runner.log_filter import install_log_filters
from flows.runner.run_watch import stop_with_run
from flows.runner.silent_server import give_up_if_silent
from preprocess.faults import MOST_NAMES, FaultsError
from training.cli.parser import command_line_of
from training.display.plan_text import header, not_started
from training.display.terminal import terminal
from training.execution.local import prepare_launch, scenes_without_data
from training.jobs.flow_claim import with_dead_flows
from training.plan.command_lines import launch_line
from training.plan.loop import blockers, make_plans
from training.plan.model import Plan
from training.plan.options import checked_options
from training.report.report_client import write_report_of
from training.report.tables import duration
from training.system.console import say

if TYPE_CHECKING:
    from flows.slurm.worker_jobs import WorkerJobs

_plans_to_run: ContextVar[Sequence[Plan]] = ContextVar("plans_to_run", default=())
"""The plans that the command line has made; a flow that Prefect starts makes its own."""
_early_jobs: ContextVar[WorkerJobs | None] = ContextVar("early_jobs", default=None)
"""The first plan's Slurm jobs, where the command line has submitted them already."""


def run_name() -> str:
    """Return the name of this flow run: what a person has typed, else the experiment's."""
    return typed_run_name() or str(run_parameters()["exp_name"])


def run_plans(
    options: FlowOptions, plans: Sequence[Plan], jobs: WorkerJobs | None = None
) -> State[Any]:
    """Run the flow with plans that are made already; return the flow run's final state.

    `jobs` are the first plan's, where they are submitted. When Prefect's API is lost for good, the
    state follows from the records. Raises FaultsError when a channel of --notify can't be used.
    """
    channels_of(options.notify)
    if not options.verbose:
        install_log_filters()
    given, early = _plans_to_run.set(plans), _early_jobs.set(jobs)
    try:
        # Prefect's types give up on a flow that itself returns a state.
        state: State[Any] = cast("Any", train_scenes)(**values_of(options), return_state=True)
    except (ObjectNotFound, httpx.HTTPError) as error:
        if any(plan.cancelled.exists() for plan in plans):
            return Cancelled(message="stopped on request")
        why = "the run is gone" if isinstance(error, ObjectNotFound) else error
        say(f"Prefect's API was lost ({why}): what follows is what the records say")
        return state_of_all(plans, list(map(final_state, plans)))
    finally:
        _plans_to_run.reset(given)
        _early_jobs.reset(early)
    return state


@flow(
    name="train-scenes",
    flow_run_name=run_name,
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
    if not _plans_to_run.get():  # started by Prefect, which has no --verbose
        install_log_filters()
    with notify_when_finished(str(values["exp_name"])) as ending:
        with stop_with_run(_flow_run()):
            ending.state = _train_scenes(values, ending)
        level = logging.ERROR if ending.state.is_failed() else logging.INFO
        get_run_logger().log(level, "%s: %s", ending.state.name, ending.state.message)
        give_up_if_silent(_flow_run())
        return ending.state


def _train_scenes(values: dict[str, Any], ending: Ending) -> State[Any]:
    try:
        options = checked_options(FlowOptions, option_values(values))
        ending.channels = channels_of(options.notify)
        _tag_flow_run(exp=options.exp_name, cluster=options.cluster)
        get_run_logger().info("the same from a terminal: %s", _command(options))
        plans = _plans_to_run.get() or _make_plans(options)
        if options.in_own_job and not _plans_to_run.get() and has_work(plans):
            return hand_over(options, plans, ending)
        if _early_jobs.get() is None:
            _prepare(plans)
        ending.plans = plans
        if dead := end_dead_runs(plans, _flow_run(), get_run_logger()):
            _tag_flow_run(exp=options.exp_name, cluster=options.cluster, after=dead)
    except FaultsError as error:
        _show_refusal(str(values["exp_name"]), error)
        return Failed(message=f"nothing was started: {error}")
    return _run_in_sequence(plans)


def _prepare(plans: Sequence[Plan]) -> None:
    """Make what scenes need; the run's log says what takes minutes. Raises FaultsError."""
    missing = scenes_without_data(plans)
    if missing:
        names = ", ".join(missing[:MOST_NAMES] + ["…"] * (len(missing) > MOST_NAMES))
        get_run_logger().info("the data of %s is made first, in about half a minute each", names)
    began = time.monotonic()
    prepare_launch(plans)
    if missing:
        took = duration(time.monotonic() - began)
        get_run_logger().info("the data of %s scenes is there, after %s", len(missing), took)


def _show_refusal(exp_name: str, error: FaultsError) -> None:
    """Put what is wrong on the flow run's page, in the form's words; a server may refuse that."""
    run = current_flow_run()
    if run is None or _plans_to_run.get():  # a command line has said it in its own words
        return
    try:
        Artifacts(run.id).show(*refusal_artifact(exp_name, error))
    except Exception as problem:  # noqa: BLE001  # no page is worth a run
        say(f"the run's page in Prefect's UI is not current ({problem})", sys.stderr)


def _run_in_sequence(plans: Sequence[Plan]) -> State[Any]:
    """Run plans one after the other, except stages whose former ones are not done.

    The first one's claim is kept to the end: by it a run that dies between two stages is found.
    """
    made: Made = {}
    states: list[State[Any]] = []
    not_done: list[str] = []
    with ExitStack() as claims:
        for plan in plans:
            if found := blockers(plan, not_done):
                say(not_started(plan, found), sys.stderr)
                states.append(Failed(message=f"not started, {' and '.join(found)} is not done"))
            else:
                with ExitStack() as of_stage:
                    kept = claims if plan is plans[0] else of_stage
                    states.append(_run_stage(plan, made, kept))
            if states[-1].is_cancelled():
                return states[-1]
            if plan.stage and not states[-1].is_completed():
                not_done.append(plan.stage.name)
        if plans[1:]:
            _summarise(plans[0])
    return state_of_all(plans, states)


def _run_stage(plan: Plan, made: Made, claims: ExitStack) -> State[Any]:
    """Run one plan, with a page of its own in the UI, and of a loop a part of the terminal."""
    is_at_terminal = plan.stage and _plans_to_run.get()
    if is_at_terminal:
        say(f"\n{header(plan)}")
    with (
        terminal(plan) if is_at_terminal else nullcontext(),
        RunPage(plan, _flow_run().id, get_run_logger()) as page,
    ):
        jobs = _jobs_of(plan)
        return page.final(run_tasks(plan, _flow_run(), page, made, claims, jobs=jobs))


def _summarise(plan: Plan) -> None:
    """Write the report once more, with the comparison of what the stages made."""
    try:
        write_report_of(plan)
    except OSError as error:
        say(f"the summary can't be written: {error}", sys.stderr)


difix_data: Flow[..., State[Any]]
difix_loop: Flow[..., State[Any]]
"""The same flow under the names of its deployments in the UI; the parameters say what it does."""
OTHER_NAMES = {"difix_data": "difix-data", "difix_loop": "difix-loop"}

if not TYPE_CHECKING:  # which takes any name that there might be for one that there is

    def __getattr__(name: str) -> Flow[..., State[Any]]:
        """Return a flow of `OTHER_NAMES`, made when it is asked for.

        Prefect makes the form's schema for each flow; runs don't wait for those of others.
        """
        if name not in OTHER_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, train_scenes.with_options(name=OTHER_NAMES[name]))


def _command(options: FlowOptions) -> str:
    """Return the command line that does the same as a flow run with these options."""
    return launch_line("python -m flows.train", command_line_of(options))


def _make_plans(options: FlowOptions) -> Sequence[Plan]:
    """Make the plans of a run that Prefect's UI or a schedule has started; raises FaultsError."""
    command = _command(options)
    plans: Sequence[Plan] = [plan.launched_by(command) for plan in make_plans(options)]
    for warning in dict.fromkeys(each for plan in plans for each in plan.warnings):
        say(f"warning: {warning}")  # a command line shows them in its header
    if plans[0].slurm is None:
        return [with_dead_flows(plan) for plan in plans]
    from flows.slurm.preflight import reconcile_with_slurm

    return reconcile_with_slurm(plans, is_here=not options.in_own_job)


def _jobs_of(plan: Plan) -> WorkerJobs | None:
    """Return the jobs of a plan's scenes that are submitted already."""
    early = _early_jobs.get()
    return early if early and early.plan.plan_id == plan.plan_id else None


def _tag_flow_run(**tags: str) -> None:
    """Give the flow run the tags NAME:VALUE, and take away those of a run that it is a copy of.

    Its task runs get none: each would ask the server for concurrency limits.
    """
    if run := current_flow_run():
        others = {each for each in run.tags if each.partition(":")[0] not in tags}
        with get_client(sync_client=True) as client:
            own = {f"{name}:{value}" for name, value in tags.items()}
            client.update_flow_run(run.id, tags=others | own)


def _flow_run() -> FlowRun:
    run = current_flow_run()
    if run is None:
        raise RuntimeError("outside of a flow run")
    return run
