"""Train scenes as a Prefect flow: `python -m flows.train --help`.

Options are read and the plan is made before Prefect is imported: a wrong option fails at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    from preprocess.interpreter import FLOW, require

    require(FLOW)
    from flows.server.standby import start_ahead

    start_ahead(sys.argv[1:])  # it imports Prefect while this process imports, reads and plans

from flows.notifications.notify import check_channels, hide_url
from flows.options import FlowOptions
from flows.runner.stop_signals import StopCount, first_stop_interrupts
from flows.server.managed import (
    API,
    STOP_TIMEOUT_S,
    exit_without_server,
    given_up,
    prefect_api,
)
from flows.server.standby import Standby, standby_server
from preprocess.faults import FaultsError
from training.display.lines import Lines
from training.display.plan_text import overview, render
from training.display.terminal import terminal
from training.execution.attempt import ending_bound_s
from training.execution.run_scene import mark_cancelled, wait_until_ended
from training.jobs.controller_status import ways_to_watch
from training.jobs.current_plan import held_by_controller
from training.jobs.flow_claim import with_dead_flows
from training.plan.aggregate_state import merged_output
from training.plan.loop import make_plans
from training.plan.model import Plan
from training.plan.scene_decision import has_work
from training.records.record import RecordError, read_record
from training.records.scene_state import began_since
from training.report.summary import standing
from training.run import Plans, run_command, say_table, write_summary
from training.slurm.times import seconds_of
from training.system.colours import painted
from training.system.console import say
from training.system.exit_status import DONE, FAILED, INTERRUPTED
from training.system.importing import without_collecting
from training.system.secrets import remove_secrets
from training.system.typed_command import spelled
from training.system.waiting import awaited

if TYPE_CHECKING:
    from prefect import Flow

    from flows.adapters.prefect_adapter import FlowRun, State
    from flows.slurm.worker_jobs import WorkerJobs


def main(argv: Sequence[str] | None = None) -> int:
    """Plan and run; return exit status 0 only if every chosen scene is done."""
    try:
        with standby_server(sys.argv[1:] if argv is None else argv) as standby:
            start = partial(launch, standby=standby)
            status = run_command(argv, FlowOptions, spelled("train"), start, preview)
        exit_without_server(status)
        return status
    finally:
        gc.freeze()  # else the interpreter's end looks through all of Prefect for garbage: 0.5 s


def launch(options: FlowOptions, plans: Plans, standby: Standby | None = None) -> int:
    """Run plans as a flow, here or in a Slurm job of its own; return the exit status.

    `standby` is a server that can be used. Raises FaultsError, also where the job can't be had.
    """
    if options.in_own_job:
        return _launch_in_job(options, plans)
    return run_flow(options, plans, standby)


def _launch_in_job(options: FlowOptions, plans: Plans) -> int:
    """Submit the flow as a job, after all checks that a flow here would make."""
    from flows.controller import submit

    check_channels(options.notify)
    settings = submit.settings_for_job()
    plans = _reconciled(plans, is_here=False)
    submit.check_controller(plans[0], options)
    say(overview(plans))
    if not any(map(has_work, plans)):
        return _end_idle(plans)
    return submit.start_in_job(options, plans, settings)


def run_flow(options: FlowOptions, plans: Plans, standby: Standby | None = None) -> int:
    """Run plans as a flow in this process and return the exit status.

    `standby` is a server that can be used.

    Raises FaultsError when Prefect's API can't be had, a channel can't be notified or Slurm would
    refuse the jobs.
    """
    check_channels(options.notify)
    plans = _reconciled(plans)
    say(overview(plans))
    if not any(map(has_work, plans)):
        return _end_idle(plans)
    with first_stop_interrupts() as stops:
        with _viewer(plans) as display:
            state = _run_flow(options, plans, display, standby, stops)
        is_stopped = state is None or state.is_cancelled()
        if is_stopped:
            for plan in plans:
                _wait_until_ended(plan, stops)
    shown = [plan for plan in plans if _has_begun(plan)] if is_stopped and plans[1:] else plans
    for plan in shown:
        if is_stopped:
            write_summary(plan)
        say_table(plan)
        if plan.aggregate and plan.aggregate.command and (output := merged_output(plan)):
            say(f"data: {output}")
    if state is None or is_stopped:
        say(f"flow run: {painted('Cancelled', 'cancelled')}, stopped on request")
        return INTERRUPTED
    meaning = "completed" if state.is_completed() else "failed"
    say(f"flow run: {painted(str(state.name), meaning)}, {state.message}")
    return DONE if state.is_completed() else FAILED


def _reconciled(plans: Plans, *, is_here: bool = True) -> Plans:
    """Return plans without scenes that Slurm's jobs have already; print what Slurm warns of.

    They know by now what flows of their experiments have died.
    """
    if plans[0].slurm is None:
        return [with_dead_flows(plan) for plan in plans]
    from flows.slurm.preflight import reconcile_with_slurm

    return reconcile_with_slurm(plans, is_here=is_here)


def _end_idle(plans: Plans) -> int:
    """Show how the scenes stand, for which no flow run is needed; return the exit status."""
    for plan in plans:
        write_summary(plan)
        say_table(plan)
    stands = [standing(plan) for plan in plans]
    if job := next(filter(None, map(held_by_controller, plans)), ""):
        say(f"another flow of this experiment runs in Slurm job {job}: it is not started twice")
        say(ways_to_watch(plans[0]))
    say("; ".join(dict.fromkeys(text for _, text in stands)))
    return DONE if all(is_done for is_done, _ in stands) else FAILED


def _has_begun(plan: Plan) -> bool:
    """Return whether an attempt of the plan was started."""
    for scene in plan.of("run"):
        with suppress(RecordError):
            record = read_record(scene.output)
            if record and began_since(record.last, plan.created):
                return True
    return False


def preview(options: FlowOptions, plans: Plans) -> str:
    """Return what a dry run prints: plans, on Slurm the jobs too.

    Where a launch would be refused, prints that and raises its FaultsError. A Slurm that does not
    answer now is a warning.
    """
    text = render(plans)
    if plans[0].slurm is not None:
        from training.jobs.flow_jobs import controller_text, jobs_text

        if options.in_own_job:
            text = f"{text}\n\n{controller_text(plans[0], seconds_of(options.controller_time))}"
        text = "\n\n".join([text, *map(jobs_text, plans)])
    try:
        check_channels(options.notify)
        if options.in_own_job:
            from flows.controller.submit import settings_for_job

            settings_for_job()
        plans = make_plans(options.model_copy(update={"dry_run": False}))
        return f"{text}{_slurm_warning(options, plans)}"
    except FaultsError:
        say(text)
        raise


def _slurm_warning(options: FlowOptions, plans: Plans) -> str:
    """Return a line where Slurm can't be asked; raises FaultsError for what it would refuse."""
    if plans[0].slurm is None:
        return ""
    from flows.slurm.preflight import SlurmSilentError

    try:
        _reconciled(plans, is_here=not options.in_own_job)
        if options.in_own_job:
            from flows.controller.submit import check_controller

            check_controller(plans[0], options)
    except SlurmSilentError as error:
        return f"\n\nwarning: {error.faults[0].what}, so it was not asked: {error.faults[0].value}"
    return ""


def _viewer(plans: Plans) -> AbstractContextManager[Lines]:
    """Open a viewer of one plan; of a loop's, the flow opens one for each stage."""
    return terminal(plans[0]) if len(plans) == 1 else nullcontext(Lines(0))


def _wait_until_ended(plan: Plan, stops: StopCount) -> None:
    """Wait until stopped scenes have ended; a repeated request ends them and Slurm jobs at once."""
    has_ended_jobs = False

    def at_once() -> bool:
        nonlocal has_ended_jobs
        if stops.is_repeated and not has_ended_jobs and plan.slurm is not None:
            from flows.slurm.job_guard import end_jobs

            end_jobs(plan)
            has_ended_jobs = True
        return stops.is_repeated

    wait_until_ended(plan.of("run"), max(map(ending_bound_s, plan.scenes)), at_once)


def _run_flow(
    options: FlowOptions,
    plans: Plans,
    display: Lines,
    standby: Standby | None,
    stops: StopCount,
) -> State[Any] | None:
    """Run the flow and return its final state; None when a stop came between its steps."""
    root = plans[0].roots.state_root
    try:
        with (
            stops.keep_interrupts(),
            prefect_api(root, verbose=options.verbose, standby=standby) as api,
        ):
            # Prefect has read its settings: what is started from here on needs no secrets.
            remove_secrets()
            hide_url()
            with _early_jobs(options, plans, api) as jobs:
                _wait_for_prefect(api, stops)
                from flows.flow import run_plans, train_scenes

                if display.is_live and api.server is None:  # our own has no UI
                    train_scenes.on_running(_say_address)
                state = run_plans(options, plans, jobs)
            if not given_up.is_set():
                _send_last_states()
            return state
    except KeyboardInterrupt:
        for plan in plans:
            mark_cancelled(plan)
        return None


def _wait_for_prefect(api: API, stops: StopCount) -> None:
    """Import Prefect and wait for its server; raises KeyboardInterrupt after a stop."""
    with awaited("Prefect and its server start" if api.server else "Prefect starts"):
        with without_collecting():  # while the server starts
            import flows.flow  # noqa: F401

        stops.check()
        api.wait_until_ready()
    stops.check()


def _send_last_states() -> None:
    from flows.adapters.prefect_adapter import send_buffered

    with awaited("Prefect's server gets the last states"):
        send_buffered(STOP_TIMEOUT_S)


def _early_jobs(
    options: FlowOptions, plans: Plans, api: API
) -> AbstractContextManager[WorkerJobs | None]:
    """Submit Slurm jobs while Prefect starts.

    Not where Prefect can still refuse the run, since a block to notify is looked up on the server,
    nor where jobs would wait long for a server that makes its database first.
    """
    if plans[0].slurm is None or options.notify or not api.has_database:
        return nullcontext()
    from flows.slurm.worker_jobs import submitted_early

    return submitted_early(plans)


def _say_address(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001  # Prefect passes them by name
    """Print where the run is in Prefect's UI."""
    from flows.adapters.prefect_adapter import flow_run_url

    if address := flow_run_url(flow_run.id):
        say(f"in Prefect's UI: {address}")


if __name__ == "__main__":
    sys.exit(main())
