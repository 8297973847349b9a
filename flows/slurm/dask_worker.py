"""The Dask worker of one Slurm job: `--in-job worker PLAN NAME` in the Slurm script.

It ends when the flow closes it or is gone, and never before the scenes that it runs: the trainers
get their grace and the records are written, and only then does the job end. With --orphan-grace a
scene trains on when the flow is gone, and the worker then joins the flow that has taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from flows.adapters.dask_adapter import WORKER_CONFIG, QuietWorker, Security, configured
from flows.runner import tasks
from flows.slurm import connection
from flows.slurm.addresses import local_address_towards
from flows.slurm.job import name_of_adopted
from training.execution.supervisor_client import SUPERVISOR
from training.execution.trainer_process import REPEATED_AFTER_S
from training.jobs.flow_claim import successor_of
from training.jobs.sbatch_commands import slurm_of, worker_time_s
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan
from training.plan.slurm_model import SlurmPlan
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.job_environment import own_job_id

DEATH_TIMEOUT_S = 30
"""A scheduler that can't be reached for so long is considered gone."""
REQUEST = ("script_text", "site_options", "flag_options", "scene_options")
"""What of a plan decides what its jobs ask Slurm for."""


def main(argv: list[str]) -> int:
    """Run tasks for the flow of a plan until it closes this worker; return the exit status.

    Then, where the flow is gone, for the flow that has taken over from it.
    """
    try:
        plan, name = read_plan(Path(argv[0])), argv[1]
    except PlanFileError as error:
        say(f"worker: {error}", sys.stderr)
        return FAILED
    submitted = plan
    status, is_orphan = _serve(plan, name, submitted)
    while is_orphan and (successor := _finish_scene(plan)):
        if not asks_for_the_same(slurm_of(submitted), slurm_of(successor)):
            break
        plan, name = successor, name_of_adopted(own_job_id())
        print(f"joins the flow of {plan.plan_id}", flush=True)
        status, is_orphan = _serve(plan, name, submitted)
    return status


def asks_for_the_same(one: SlurmPlan, other: SlurmPlan) -> bool:
    """Return whether the jobs of two plans' scenes are alike, except in their time."""
    return all(getattr(one, name) == getattr(other, name) for name in REQUEST)


def _serve(plan: Plan, name: str, submitted: Plan) -> tuple[int, bool]:
    """Be a worker of a plan's flow; return the exit status, and whether a scene has outlived it.

    `submitted`: the plan that this job was submitted for.
    """
    try:
        scheduler = connection.read(plan)
        security = scheduler.security
    except (OSError, ValueError):
        print(f"the flow of {plan.plan_id} has ended: nothing to do", flush=True)
        return DONE, False
    status, is_orphan = DONE, False
    told = {**STARTUP_INFORMATION, "walltime_s": lambda _: worker_time_s(submitted)}
    try:
        is_orphan = asyncio.run(_work(scheduler.address, security, name, plan, told))
    except (OSError, TimeoutError) as error:
        print(f"the scheduler at {scheduler.address} can't be reached: {error}", flush=True)
        status = FAILED
    finally:
        # The event loop's handlers are gone.
        signal.signal(signal.SIGTERM, lambda *_: _stop_scenes())
        signal.signal(signal.SIGUSR1, lambda number, _: _forward_to_trainer(number))
        if not is_orphan:
            tasks.wait_for_scenes()
    return status, is_orphan


def _finish_scene(plan: Plan) -> Plan | None:
    """Wait for the end of the scene, at most as long as it may go on without its flow.

    Return the plan of the flow that has taken over; None where none has, or Slurm ends this job.
    """
    grace_s = slurm_of(plan).orphan_grace_s
    print(
        f"the flow of {plan.plan_id} is gone: its scene trains on, {grace_s} s at most", flush=True
    )
    if not tasks.wait_for_scenes(grace_s):
        tasks.stop_scenes()
        tasks.wait_for_scenes()
        return None
    return None if _terms else successor_of(plan)


async def _work(
    address: str, security: Security, name: str, plan: Plan, told: Mapping[str, Any]
) -> bool:
    """Run a worker until the flow closes it or is gone; return whether a scene has outlived it.

    `told`: what it reports about its job when it joins.
    """
    host = local_address_towards(address.split("://")[1].rpartition(":")[0])
    with configured(WORKER_CONFIG):
        worker = QuietWorker(
            address,
            on_close=tasks.stop_scenes,
            on_loss=lambda: slurm_of(plan).orphan_grace_s > 0 and tasks.trains_scene(),
            name=name,
            nthreads=plan.scenes_per_gpu,
            host=host,
            security=security,
            dashboard=False,
            memory_limit=0,  # the memory is the trainer's, which Dask does not see
            death_timeout=DEATH_TIMEOUT_S,
            startup_information=told,
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, _on_term, worker)
        loop.add_signal_handler(signal.SIGUSR1, _forward_to_trainer, signal.SIGUSR1)
        for _ in range(plan.scenes_per_gpu):
            worker.run_ahead(tasks.get_ready)
        await worker.work()
        return worker.is_orphan


STARTUP_INFORMATION = {
    "job_id": lambda _: os.environ.get("SLURM_JOB_ID", ""),
    "node": lambda _: os.environ.get("SLURMD_NODENAME", ""),
    "age_s": lambda _: job_age_s(),
    "scenes": lambda _: tasks.scenes_begun(),
}
"""What a worker reports about its job when it joins the flow."""


def job_age_s() -> float:
    """Return the seconds since Slurm started this job's processes."""
    started = psutil.Process().create_time()
    for parent in psutil.Process().parents():
        if parent.name() == "slurmstepd":
            started = parent.create_time()
            break
    return time.time() - started


_closing: set[asyncio.Task[Any]] = set()
"""Keeps references: the event loop itself would let the tasks be collected."""


def _on_term(worker: QuietWorker) -> None:
    """Slurm ends this job: stop its scenes, whose outcomes still reach the flow, then close."""
    _stop_scenes()

    async def close_after_scene() -> None:
        await asyncio.to_thread(tasks.wait_for_scenes)
        await worker.close()

    _closing.add(asyncio.ensure_future(close_after_scene()))


_terms: list[float] = []
"""When SIGTERM came, by `time.monotonic()`."""


def _stop_scenes() -> None:
    """Stop the scenes; end them without grace when SIGTERM comes again, not just twice at once."""
    _terms.append(time.monotonic())
    if len(_terms) == 1 or _terms[-1] - _terms[0] > REPEATED_AFTER_S:
        tasks.stop_scenes_harder()


def _forward_to_trainer(number: int) -> None:
    """Send a site's warning signal (`#SBATCH --signal=B:USR1@60`) to the scenes' supervisors."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if SUPERVISOR in child.cmdline():
                child.send_signal(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
