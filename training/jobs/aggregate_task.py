"""Aggregate an experiment in a process of its own: `python -m training.jobs.aggregate_task PLAN`.

As a Slurm job after the array, and as a child of a launcher or flow. A job's dependency proves
nothing (Slurm takes a job that it has forgotten for one that succeeded): the records decide whether
all scenes are done.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from preprocess.faults import counted
from preprocess.roots import CHECKOUT
from training.execution.merge import (
    AggregateError,
    claimed_experiment,
    merge,
    missing_scenes,
)
from training.execution.trainer_process import PARENT_DIED, block_signals
from training.jobs.begun_jobs import note_begun
from training.jobs.job_entry import ENTRY_VARIABLE
from training.plan.aggregate_state import is_of, missing_text, submitted_job
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan
from training.plan.slurm_plan import START_S
from training.records.aggregate_record import (
    AggregateRecord,
    AggregateStatus,
    read_aggregate,
    write_aggregate,
)
from training.records.record import Cause, RecordError, now
from training.records.retry_policy import should_aggregate_again
from training.report.summary import summarise
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.job_environment import node_name, own_job_id, restarts
from training.system.processes import die_with_parent, signal_name
from training.system.stop_request import StopRequest

MODULE = "training.jobs.aggregate_task"
POLL_S = 1.0


def aggregate_with_retries(plan: Plan, stop: StopRequest) -> None:
    """Do `aggregate_in_process`, again as often as the causes of its ends allow."""
    for attempt in itertools.count(1):
        try:
            aggregate_in_process(plan, stop)
        except AggregateError as error:
            if stop.level or not should_aggregate_again(error.cause, attempt, plan.max_retries):
                raise
            say(f"{error}: started again", sys.stderr)
        else:
            return


def aggregate_in_process(plan: Plan, stop: StopRequest) -> None:
    """Aggregate in a child process, since `merge` needs all signals of its process for itself.

    Passes `stop` on, and stops a child that exceeds its time limit without noticing. Raises
    AggregateError with what the child said, and the cause that it has recorded.
    """
    status, said = _run_child(plan, stop)
    if status == -signal.SIGTERM and stop.level:  # before it could block signals
        raise AggregateError("told to end", Cause.CANCELLED)
    if status < 0:
        killed = f"aggregate: its process was ended by {signal_name(status)}"
        raise AggregateError(killed, Cause.WORKER_LOST)
    if status > 0:
        said = said or f"aggregate: exit status {status}"
        raise AggregateError(said, _recorded_cause(plan))


def _run_child(plan: Plan, stop: StopRequest) -> tuple[int, str]:
    """Run the child to its end; return its exit status and output."""
    limit_s = START_S + (plan.aggregate.time_limit_s if plan.aggregate else 0)
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, str(plan.file)],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline, requests_sent = time.monotonic() + limit_s, 0
    while True:
        try:
            said, _ = process.communicate(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if requests_sent < max(stop.level, int(time.monotonic() > deadline)):
                requests_sent += 1
                process.terminate()
        else:
            return process.returncode, said.strip()


def _recorded_cause(plan: Plan) -> Cause | None:
    """Return how the plan's aggregate ended by its record; None where it has not begun."""
    with contextlib.suppress(RecordError):
        record = read_aggregate(plan.roots.experiment_folder(plan.exp_name))
        if record is not None and is_of(record, plan):
            return record.cause
    return None


def main(argv: list[str]) -> int:
    """Merge and summarise; exit status 0 only if every scene was done and both succeeded."""
    block_signals()
    die_with_parent(PARENT_DIED)
    try:
        plan = read_plan(Path(argv[0]))
    except PlanFileError as error:
        say(f"aggregate: {error}", sys.stderr)
        return FAILED
    if own_job_id() and ENTRY_VARIABLE in os.environ:  # no child of a launcher or flow
        note_begun(plan)
    try:
        aggregate(plan)
    except AggregateError as error:
        say(f"aggregate of {plan.exp_name}: {error}", sys.stderr)
        return FAILED
    say(f"aggregate of {plan.exp_name}: done")
    return DONE


def aggregate(plan: Plan) -> None:
    """Merge what all scenes wrote, summarise the experiment, and record how it went.

    Raises AggregateError.
    """
    if plan.aggregate is None or not plan.aggregate.command:
        _check_may_start(plan)
        _summarise(plan)
        return
    folder = plan.roots.experiment_folder(plan.exp_name)
    with claimed_experiment(plan) as claim:
        record = _new_record(plan, plan.aggregate.log)
        try:
            _check_may_start(plan)
            write_aggregate(folder, record)
            merge(plan, claim)
            claim.check()
            write_aggregate(folder, record.ended("done", Cause.OK))
            _summarise(plan)
        except AggregateError as error:
            status = _status_of(plan, error)
            write_aggregate(folder, record.ended(status, error.cause, str(error)))
            if status == "failed":
                with contextlib.suppress(AggregateError):  # the report names what failed
                    _summarise(plan)
            raise


def _check_may_start(plan: Plan) -> None:
    if plan.cancelled.exists():
        raise AggregateError("not started, the experiment was cancelled")
    if (starts := _starts_of_own_job(plan)) > plan.max_retries:  # Slurm requeues without limit
        times = counted(starts, "time")
        raise AggregateError(f"not started, it was started {times} already (--max-retries)")
    if missing := missing_scenes(plan):
        raise AggregateError(f"not started, {missing_text(missing, len(plan.scenes))}")


def _starts_of_own_job(plan: Plan) -> int:
    """Return how often the job that was submitted for the aggregate has run before; 0 elsewhere."""
    return restarts() if own_job_id() and own_job_id() == submitted_job(plan) else 0


def _new_record(plan: Plan, log: Path) -> AggregateRecord:
    return AggregateRecord(
        exp_name=plan.exp_name,
        plan_id=plan.plan_id,
        scenes=tuple(scene.name for scene in plan.scenes),
        status="running",
        start=now(),
        host=node_name(),
        slurm_job_id=own_job_id(),
        log=log,
        launch_command=plan.launch_command,
    )


def _status_of(plan: Plan, error: AggregateError) -> AggregateStatus:
    if plan.cancelled.exists() or error.cause is Cause.CANCELLED:
        return "cancelled"
    return "failed" if error.cause else "not started"


def _summarise(plan: Plan) -> None:
    try:
        summarise(*plan.experiment)
    except OSError as error:
        raise AggregateError(f"the summary can't be written: {error}", Cause.NO_OUTPUT) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
