"""Runs a flow in a Slurm job: `--in-job controller PLAN` in the Slurm script.

The flow is a child, `flows.controlled_flow`. What Slurm sends this job (its time is over, it is
preempted) is no wish to end the run: this process takes it, ends the child as suddenly as a lost
node would, and has the job queued again. Only the mark of --cancel, or a cancel in Prefect's UI,
ends the run.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from flows.controller.continued import new_ids
from flows.controller.settings import flow_environment, remove_settings
from preprocess.roots import CHECKOUT
from training.jobs.sbatch_commands import controller_job
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan
from training.records.controller_record import (
    ControllerRecord,
    note_controller_job,
    read_controller,
    write_controller,
)
from training.records.record import RecordError
from training.slurm import client
from training.slurm.times import seconds_of
from training.system.console import say
from training.system.exit_status import DONE, FAILED, INTERRUPTED, USAGE
from training.system.job_environment import node_name, own_job_id, restarts

FLOW = "flows.controlled_flow"
"""Module of the child; as a name, because it stands above this folder."""
SIGNALS = frozenset({signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1})
"""What Slurm may send. Blocked here, and so in the flow, which it would stop as a user does."""
POLL_S = 1.0
MOST_STARTS = 100
"""Starts of the flow in all runs of the job together; of a day each, a season."""
MOST_KILLED = 3
"""So often the flow may be killed in one run of the job, as for want of memory."""
REQUEUE_TIMEOUT_S = 60
"""Slurm ends the run of a job that it requeues, within this time."""
FLOW_STATUSES = frozenset({DONE, FAILED, USAGE, INTERRUPTED})
"""With these the flow has ended by itself; any other end is a loss."""

Left = Literal["time", "superseded"]


def main(argv: list[str]) -> int:
    """Run the flow of a plan until it has ended, or this job has to; return the exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        plan = read_plan(Path(argv[0]))
        for _ in range(MOST_KILLED + 1):
            record = _next_start(plan)
            if record is None:
                return FAILED
            end = _run_flow(plan, record)
            if end == "superseded":
                say("a later start of this controller has taken over: this one ends")
                return FAILED
            if end == "time":
                return _queue_again(plan)
            if end in FLOW_STATUSES:
                return _close(plan, end)
            say(f"the flow was killed (exit status {end})")
    except (PlanFileError, RecordError, OSError) as error:
        say(f"controller: {error}", sys.stderr)
        return FAILED
    return _close(plan, FAILED, f"its flow was killed {MOST_KILLED + 1} times")


def _next_start(plan: Plan) -> ControllerRecord | None:
    """Note that the flow is started now, and return the record; None where it may not be."""
    record = read_controller(plan.file)
    if record is None:
        raise RecordError(f"{plan.file} was not submitted with a controller")
    if plan.cancelled.exists():
        _close(plan, INTERRUPTED, "the experiment was cancelled")
        return None
    if len(record.starts) >= MOST_STARTS:
        _close(plan, FAILED, f"it was started {MOST_STARTS} times")
        return None
    ids = {each: each for each in record.plans}
    if record.starts:
        ids = new_ids([read_plan(plan.file.with_name(f"{each}.json")) for each in record.plans])
    record = record.started(node_name(), own_job_id(), ids)
    write_controller(plan.file, record)
    return record


def _run_flow(plan: Plan, record: ControllerRecord) -> int | Left:
    """Run the flow once; return its exit status, or why it was ended."""
    flow = subprocess.Popen(
        [sys.executable, "-m", FLOW, str(plan.file)],
        cwd=CHECKOUT,
        env=flow_environment(plan),
        stdin=subprocess.DEVNULL,
    )
    try:
        while (status := flow.poll()) is None:
            is_told = signal.sigtimedwait(SIGNALS, POLL_S) is not None
            if _is_superseded(plan, len(record.starts)):
                return "superseded"
            if plan.cancelled.exists():
                _pass_on_cancel(plan, record.starts[-1].plans)
                if is_told:
                    flow.send_signal(signal.SIGINT)
            elif is_told:
                return "time"
        return "superseded" if _is_superseded(plan, len(record.starts)) else status
    finally:
        flow.kill()
        flow.wait()


def _is_superseded(plan: Plan, own_number: int) -> bool:
    """Return whether the flow was started again elsewhere, while Slurm took this node for lost."""
    with contextlib.suppress(RecordError):
        record = read_controller(plan.file)
        return record is not None and len(record.starts) > own_number
    return False


def _pass_on_cancel(plan: Plan, ids: Mapping[str, str]) -> None:
    """Mark the plans of this start, which may be younger than the mark of --cancel."""
    for plan_id in ids.values():
        with contextlib.suppress(OSError):
            plan.file.with_name(f"{plan_id}.cancelled").touch()


def _queue_again(plan: Plan) -> int:
    """Have Slurm requeue this job, unless it is ending it already; return the exit status.

    Where Slurm refuses that, or ends the job without requeueing it, submits another one in its
    place, unless somebody has cancelled it.
    """
    job_id = own_job_id()
    with contextlib.suppress(client.SlurmError):
        if all(job.state != "RUNNING" for job in client.jobs_of_id(job_id)):
            if why := _why_ended_for_good(client.job_fields(job_id)):
                say(f"{why}, and Slurm won't queue it again: another one is submitted")
                return _submit_again(plan)
            say("Slurm ends this job; unless it queues it again, the same command goes on")
            return FAILED
    try:
        client.requeue(job_id)
        say("this job's time is over, or it is preempted: it is queued again and goes on")
    except client.SlurmError as error:
        say(f"this job can't be requeued ({error}): another one is submitted")
        return _submit_again(plan)
    signal.sigtimedwait({signal.SIGTERM}, REQUEUE_TIMEOUT_S)
    return FAILED


def _why_ended_for_good(fields: Mapping[str, str]) -> str:
    """Return why Slurm ends this job for good, by its fields.

    Empty where Slurm requeues it, and where a person has cancelled it. Its time may be over without
    notice, where somebody has shortened it; and a site may have preempted jobs cancelled instead of
    requeued (PreemptMode=CANCEL).
    """
    if fields.get("Reason") == "TimeLimit":
        return "this job's time is over"
    preempted, started = fields.get("PreemptTime", ""), fields.get("StartTime", "")
    is_requeued = fields.get("Restarts") != str(restarts())
    if preempted[:1].isdigit() and preempted >= started and not is_requeued:
        return "this job is preempted"
    return ""


def _submit_again(plan: Plan) -> int:
    record = read_controller(plan.file)
    if record is None:
        return FAILED
    try:
        job_id = client.submit(controller_job(plan, seconds_of(record.options["controller_time"])))
    except client.SlurmError as error:
        return _close(plan, FAILED, f"it can't be queued again: {error}")
    note_controller_job(plan.file, job_id)
    say(f"the flow goes on in Slurm job {job_id}")
    return FAILED


def _close(plan: Plan, status: int, message: str = "") -> int:
    """Record that the controller has ended for good, and remove its secrets; return `status`."""
    if message:
        say(f"controller: {message}", sys.stderr)
    if (record := read_controller(plan.file)) is not None:
        write_controller(plan.file, record.ended(status, message))
    remove_settings(plan)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
