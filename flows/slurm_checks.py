"""What Slurm can tell to be wrong before a flow starts."""

from __future__ import annotations

from flows.addresses import scheduler_address
from preprocess.faults import Fault, FaultsError
from training.plan import Plan
from training.slurm import client
from training.slurm.client import SlurmError
from training.slurm.jobs import slurm_of, with_files, worker_job


def check_slurm(plan: Plan) -> None:
    """Raises FaultsError when Slurm would refuse a scene's job, or an interface is not there."""
    slurm = slurm_of(plan)
    own_address(plan)
    command = worker_job(plan, "w1", slurm.time_s * slurm.scenes_per_job)
    try:
        client.test_only(with_files(command, {plan.script: slurm.script}))
    except SlurmError as error:
        remedy = f"correct {slurm.script}, or give the --slurm.* flag that replaces its line"
        raise FaultsError(
            [Fault("Slurm would refuse a scene's job", str(error), remedy)]
        ) from error


def own_address(plan: Plan) -> str:
    """The address of this machine that a node of the cluster can reach; raises FaultsError."""
    try:
        node = client.a_node_address()
    except SlurmError:
        node = None
    return scheduler_address(slurm_of(plan).interface, node)
