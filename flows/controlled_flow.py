"""The flow in a controller's job: `python -m flows.controlled_flow PLAN`, started by that job.

As `python -m flows.train`, with the plans and options that were kept when the job was submitted.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flows.controller.continued import continued_all
from flows.options import FlowOptions
from flows.server.managed import exit_without_server
from flows.server.standby import Standby, standby_server
from flows.slurm.preflight import SlurmSilentError
from flows.train import run_flow
from preprocess.faults import Fault, FaultsError
from training.cli.parser import reporting_faults
from training.jobs.reconcile import reconcile_all
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan
from training.plan.options import checked_options
from training.records.controller_record import ControllerRecord, read_controller
from training.records.record import RecordError
from training.slurm import client
from training.system.console import say
from training.system.exit_status import FAILED
from training.system.processes import die_with_parent

ASK_EVERY_S = 15.0
MOST_SILENCE_S = 1800.0
"""How long a flow in a job waits for a Slurm that does not answer when it starts."""


def main(argv: list[str]) -> int:
    """Run the flow of a controller's record; return its exit status."""
    die_with_parent(signal.SIGKILL)
    try:
        with standby_server([]) as standby:
            status = reporting_faults(lambda: _run(Path(argv[0]), standby))
        exit_without_server(status)
        return status
    finally:
        gc.freeze()


def _run(plan_file: Path, standby: Standby | None) -> int:
    """Run the flow of this start, and return its exit status.

    A Slurm that does not answer before anything has started is asked again, since here nobody would
    type the command again; when it stays silent for MOST_SILENCE_S, the status is FAILED. Raises
    FaultsError for a plan or record that can't be read, and as `flows.train.run_flow`.
    """
    plans, record = _read(plan_file)
    options = checked_options(FlowOptions, record.options)
    deadline = time.monotonic() + MOST_SILENCE_S
    while True:
        try:
            return run_flow(options, _of_this_start(plans, record), standby)
        except (SlurmSilentError, client.SlurmError) as error:
            if time.monotonic() > deadline:
                silent = f"Slurm has not answered for {MOST_SILENCE_S / 60:.0f} min ({error})"
                say(f"{silent}: when it does, the command that started this goes on")
                return FAILED
            say(f"{error}: asked again")
            time.sleep(ASK_EVERY_S)


def _read(plan_file: Path) -> tuple[list[Plan], ControllerRecord]:
    try:
        record = read_controller(plan_file)
        plans = record.plans if record else ()
        found = [read_plan(plan_file.with_name(f"{each}.json")) for each in plans]
    except (PlanFileError, RecordError) as error:
        raise FaultsError([Fault(str(error))]) from error
    if record is None:
        raise FaultsError([Fault("the plan was not submitted with a controller", str(plan_file))])
    return found, record


def _of_this_start(plans: Sequence[Plan], record: ControllerRecord) -> Sequence[Plan]:
    """Return the submitted plans at the first start; later what is left of them.

    Records are brought up to date with Slurm before that is decided. Raises SlurmError.
    """
    if not record.starts[1:]:
        return plans
    outputs = [scene.output for plan in plans for scene in plan.of("run")]
    reconcile_all(outputs, {job.job_id for job in client.my_jobs()})
    return continued_all(plans, record.starts[-1].plans)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
