"""Ask Slurm before a flow starts what it would refuse and which scenes it has already."""

from __future__ import annotations

from collections.abc import Sequence

from flows.slurm.addresses import scheduler_address
from flows.slurm.adoption import with_queue
from preprocess.faults import Fault, FaultsError
from training.jobs.current_plan import hold_queued, reconcile_plan
from training.jobs.experiment_jobs import StageJob, controller_of, is_superseded
from training.jobs.sbatch_check import refusal_fault, using_bad_nodes, with_nodes_left
from training.jobs.sbatch_commands import slurm_of, worker_job
from training.plan.loop import with_remade
from training.plan.model import Plan
from training.slurm import client
from training.slurm.client import SlurmError
from training.slurm.parsers import QueuedJob
from training.system.console import say
from training.system.job_environment import own_job_id
from training.system.waiting import awaited


class SlurmSilentError(FaultsError):
    """Slurm does not answer: what it would refuse, and what it has queued, is not known."""


def reconcile_with_slurm(plans: Sequence[Plan], *, is_here: bool = True) -> Sequence[Plan]:
    """Return plans without scenes that other jobs of their experiments have; print warnings.

    Jobs of a flow that has died are taken over with their scenes. `is_here`: whether the flow runs
    on this machine, not in a job.

    Raises FaultsError when Slurm would refuse a scene's job or an interface is not there, and
    SlurmSilentError when it does not answer.
    """
    plan = plans[0]  # all have the same script
    if is_here:
        own_address(plan)  # raises what would otherwise be found when the flow has started
    try:
        with awaited("Slurm says what it has queued (squeue)"):
            queue = [job for job in client.my_jobs() if _is_of_others(job)]
        plans = with_remade([reconcile_plan(each, queue) for each in plans])
        controller = controller_of(queue, plans)
        plans = [_held_by(controller, with_queue(each, queue)) for each in plans]
        with awaited("Slurm checks the jobs (sbatch --test-only)"):
            usable, warnings = with_nodes_left(plan, lambda each: [worker_job(each, "w1")])
    except client.SlurmRefusedError as error:
        raise FaultsError([refusal_fault(plan, error)]) from error
    except SlurmError as error:
        remedy = "try again when it does"
        raise SlurmSilentError([Fault("Slurm does not answer", str(error), remedy)]) from error
    for warning in warnings:
        say(warning)
    return plans if usable is plan else [using_bad_nodes(each) for each in plans]


def _is_of_others(job: QueuedJob) -> bool:
    """Return whether a job may have scenes that are not this flow's: not the job that runs it."""
    return job.job_id != own_job_id() and not is_superseded(job)


def _held_by(controller: StageJob | None, plan: Plan) -> Plan:
    """Return a plan with all its scenes held where a controller runs the loop that it is of."""
    if controller is None or plan.stage is None:
        return plan
    return hold_queued(plan, dict.fromkeys((each.name for each in plan.scenes), controller.job))


def own_address(plan: Plan) -> str:
    """Return the address of this machine that compute nodes can reach; raises FaultsError."""
    try:
        node = client.a_node_address()
    except SlurmError:
        node = None
    return scheduler_address(slurm_of(plan).interface, node)
