"""Train scenes as a Prefect flow: `python -m flows.train --help`.

Options and plan come first, without Prefect: a wrong option is told in a blink.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.notifications.notify import hide_url
from flows.options import FlowOptions
from flows.runner.stop_signals import Stops, first_stop_interrupts
from flows.server.managed import forget_passwords, prefect_api, send_the_rest
from training.display.lines import Lines
from training.display.plan_text import header
from training.display.terminal import terminal
from training.execution.run_scene import ending_bound_s, mark_cancelled, wait_until_ended
from training.plan.model import Plan
from training.report.summary import table
from training.run import run_command, write_summary
from training.system.console import say
from training.system.exit_status import DONE, FAILED, INTERRUPTED

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State


def main(argv: Sequence[str] | None = None) -> int:
    """Plan and run; exit status 0 only if every chosen scene is done."""
    return run_command(argv, FlowOptions, "python -m flows.train", launch)


def launch(options: FlowOptions, plan: Plan) -> int:
    """Run a plan as a flow; raises FaultsError when Prefect's API can't be had."""
    if plan.slurm is not None:
        from flows.slurm.preflight import as_it_stands

        plan, warnings = as_it_stands(plan)
        for warning in warnings:
            say(warning)
    say(header(plan))
    with first_stop_interrupts() as stops:
        with terminal(plan) as display:
            state = _run_flow(options, plan, display)
        if state is None or state.is_cancelled():
            _wait_for_the_end(plan, stops)
            write_summary(plan)
    say(table(*plan.experiment))
    if state is None or state.is_cancelled():
        say("flow run: Cancelled, stopped on request")
        return INTERRUPTED
    say(f"flow run: {state.name}, {state.message}")
    return DONE if state.is_completed() else FAILED


def _wait_for_the_end(plan: Plan, stops: Stops) -> None:
    """Give stopped scenes their grace; a second request to stop ends them, and Slurm jobs, now."""
    hurried = False

    def at_once() -> bool:
        nonlocal hurried
        if stops.urgent and not hurried and plan.slurm is not None:
            from flows.slurm.job_guard import end_jobs

            end_jobs(plan)
            hurried = True
        return stops.urgent

    wait_until_ended(plan.of("run"), max(map(ending_bound_s, plan.scenes)), at_once)


def _run_flow(options: FlowOptions, plan: Plan, display: Lines) -> State[Any] | None:
    """The flow run's final state; None when a stop came between its steps."""
    try:
        with prefect_api(plan.roots.state_root, verbose=options.verbose) as api:
            if display.is_live:
                say("Prefect starts")
            from flows.flow import run_plan, train_scenes  # while the server starts

            if display.is_live and api.server is None:  # our own has no UI
                train_scenes.on_running(_tell_address)
            api.wait_until_ready()
            forget_passwords()
            hide_url()
            state = run_plan(options, plan)
            send_the_rest()
            return state
    except KeyboardInterrupt:
        mark_cancelled(plan)
        return None


def _tell_address(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001  # Prefect names them
    """Say where the run is in Prefect's UI."""
    from prefect.utilities.urls import url_for

    if address := url_for(flow_run):
        say(f"in Prefect's UI: {address}")


if __name__ == "__main__":
    sys.exit(main())
