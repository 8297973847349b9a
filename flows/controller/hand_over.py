"""A run from Prefect's form that is to go on in a job: it submits the job, and ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.adapters.prefect_adapter import State
from flows.controller import submit
from flows.notifications.notify import Ending
from flows.options import FlowOptions
from training.plan import scene_decision
from training.plan.model import Plan


def has_work(plans: Sequence[Plan]) -> bool:
    """Return whether one of these plans has something to do, so that a job is worth it."""
    return any(map(scene_decision.has_work, plans))


def hand_over(options: FlowOptions, plans: Sequence[Plan], ending: Ending) -> State[Any]:
    """Submit a job that runs the plans in a flow run of its own; return the state `Submitted`.

    Whoever has started this run needs neither it nor its process any more: waiting for the job
    here would end with the machine that the job is to outlive. Raises FaultsError.
    """
    ending.channels = {}  # the run in the job notifies
    settings = submit.settings_in_flow()
    submit.check_controller(plans[0], options)
    job_id = submit.submit_controller(options, plans, settings)
    get_run_logger().info(submit.next_commands(plans[0], job_id))
    message = f"Slurm job {job_id} trains, in a run of its own, tagged exp:{options.exp_name}"
    return Completed(name="Submitted", message=message)
