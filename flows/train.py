"""Train scenes as a Prefect flow: `python -m flows.train --help`.

Options are read and the plan is made before Prefect is imported: a wrong option fails at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    from training.cli.interpreter import FLOW, require

    require(FLOW)

from flows.notifications.notify import hide_url
from flows.options import FlowOptions
from flows.runner.stop_signals import StopCount, first_stop_interrupts
from flows.server.managed import STOP_TIMEOUT_S, prefect_api
from flows.server.settings import remove_secrets
from training.display.lines import Lines
from training.display.plan_text import overview
from training.display.terminal import terminal
from training.execution.attempt import ending_bound_s
from training.execution.run_scene import mark_cancelled, wait_until_ended
from training.plan.aggregate_state import merged_output
from training.plan.model import Plan
from training.report.summary import table
from training.run import Plans, run_command, write_summary
from training.system.console import say
from training.system.exit_status import DONE, FAILED, INTERRUPTED
from training.system.typed_command import spelled

if TYPE_CHECKING:
    from prefect import Flow

    from flows.adapters.prefect_adapter import FlowRun, State


def main(argv: Sequence[str] | None = None) -> int:
    """Plan and run; return exit status 0 only if every chosen scene is done."""
    return run_command(argv, FlowOptions, spelled("train"), launch)


def launch(options: FlowOptions, plans: Plans) -> int:
    """Run plans as a flow and return the exit status.

    Raises FaultsError when Prefect's API can't be had or Slurm would refuse the jobs.
    """
    if plans[0].slurm is not None:
        from flows.slurm.preflight import reconcile_with_slurm

        plans, warnings = reconcile_with_slurm(plans)
        for warning in warnings:
            say(warning)
    say(overview(plans))
    with first_stop_interrupts() as stops:
        with _viewer(plans) as display:
            state = _run_flow(options, plans, display)
        if state is None or state.is_cancelled():
            for plan in plans:
                _wait_until_ended(plan, stops)
                write_summary(plan)
    for plan in plans:
        say(table(*plan.experiment))
        if plan.aggregate and plan.aggregate.command and (output := merged_output(plan)):
            say(f"data: {output}")
    if state is None or state.is_cancelled():
        say("flow run: Cancelled, stopped on request")
        return INTERRUPTED
    say(f"flow run: {state.name}, {state.message}")
    return DONE if state.is_completed() else FAILED


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


def _run_flow(options: FlowOptions, plans: Plans, display: Lines) -> State[Any] | None:
    """Run the flow and return its final state; None when a stop came between its steps."""
    try:
        with prefect_api(plans[0].roots.state_root, verbose=options.verbose) as api:
            if display.is_live:
                say("Prefect starts")
            from flows.adapters.prefect_adapter import send_buffered
            from flows.flow import run_plans, train_scenes  # while the server starts

            if display.is_live and api.server is None:  # our own has no UI
                train_scenes.on_running(_say_address)
            api.wait_until_ready()
            remove_secrets()
            hide_url()
            state = run_plans(options, plans)
            send_buffered(STOP_TIMEOUT_S)
            return state
    except KeyboardInterrupt:
        for plan in plans:
            mark_cancelled(plan)
        return None


def _say_address(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001  # Prefect passes them by name
    """Print where the run is in Prefect's UI."""
    from flows.adapters.prefect_adapter import flow_run_url

    if address := flow_run_url(flow_run.id):
        say(f"in Prefect's UI: {address}")


if __name__ == "__main__":
    sys.exit(main())
