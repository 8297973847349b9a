"""The trainer's own aggregate: one command that merges what all scenes of a plan wrote."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

from training.execution.attempt import claimed_by_own_job
from training.execution.end_cause import EndContext, cause_of, kernel_kills
from training.execution.trainer_process import STOP_SIGNALS, Limits, TrainerEnd, run_trainer
from training.plan.command_lines import runnable
from training.plan.model import ENDING_SLACK_S, AggregatePlan, Plan
from training.plan.scene_decision import is_done
from training.plan.slurm_plan import START_S
from training.records.claim import Claim, ClaimHeldError
from training.records.record import Cause, RecordError, now
from training.snapshots.start import SourcesChangedError, from_sources, sources_line
from training.system.claim_file import VARIABLE as CLAIM_VARIABLE
from training.system.claim_file import ClaimLostError
from training.system.gpus import with_device_order
from training.system.job_environment import node_name, own_job_id
from training.system.scene_log import last_message

GRACE_S = 20
POLL_S = 1.0
STOPPED = {
    "timeout": "stopped at its time limit (--aggregate-time)",
    "asked": "told to end",
    "launcher": "told to end",
    "orphaned": "the process that had launched it died",
}
"""Message for each way in which a stop was requested, see `trainer_process.Stopped`."""


class AggregateError(Exception):
    """The aggregate was not run, or did not end well; the message says why."""

    def __init__(self, message: str, cause: Cause | None = None) -> None:
        self.cause = cause
        """How it ended; None where it was not started."""
        super().__init__(message)

    def __reduce__(self) -> tuple[type[AggregateError], tuple[str, Cause | None]]:
        return type(self), (str(self), self.cause)


def missing_scenes(plan: Plan) -> list[str]:
    """Return the scenes of a plan whose records don't say done: an aggregate needs all."""
    return [scene.name for scene in plan.scenes if not is_done(scene)]


@contextlib.contextmanager
def claimed_experiment(plan: Plan) -> Iterator[Claim]:
    """Hold the claim on the experiment's folder, which one aggregate at a time may write to.

    Waits for the aggregate of an earlier submission to end. Raises AggregateError. Only for a
    process that has called `block_signals`.
    """
    try:
        with ExitStack() as stack:
            yield _claim(plan, stack)
    except ClaimHeldError as error:
        raise AggregateError(f"another aggregate runs: {error.holder}") from error
    except ClaimLostError as error:
        raise AggregateError(f"nothing more is written: {error}") from error
    except (RecordError, OSError) as error:
        raise AggregateError(f"it can't be started: {error}", Cause.NO_OUTPUT) from error


def merge(plan: Plan, claim: Claim) -> None:
    """Run a plan's aggregate command, if it has one; raises AggregateError.

    `claim` is kept alive meanwhile. Only for a process that does nothing else and has called
    `block_signals`.
    """
    aggregate = plan.aggregate
    if aggregate is None or not aggregate.command:
        return
    kills_before = kernel_kills()
    try:
        end = _run(plan, aggregate, claim)
    except ClaimLostError:
        raise
    except SourcesChangedError as error:
        raise AggregateError(f"it can't be started: {error}", Cause.CONFIG) from error
    except OSError as error:
        raise AggregateError(f"it can't be started: {error}", Cause.TRAINER_ERROR) from error
    killed = kernel_kills() > kills_before
    context = EndContext(killed, plan.cancelled.exists(), own_job_id(), node_name())
    cause, _ = cause_of(end, [], aggregate.log, context)
    if cause is not Cause.OK:
        raise AggregateError(_message(aggregate, end), cause)


def _claim(plan: Plan, stack: ExitStack) -> Claim:
    folder = plan.roots.experiment_folder(plan.exp_name)
    deadline = time.monotonic() + _limits(plan).time_s
    while True:
        try:
            return stack.enter_context(claimed_by_own_job(folder, os.getpid(), ENDING_SLACK_S))
        except ClaimHeldError:
            was_told_to_end = signal.sigtimedwait(STOP_SIGNALS, POLL_S)
            if was_told_to_end or time.monotonic() > deadline:
                raise


def _run(plan: Plan, aggregate: AggregatePlan, claim: Claim) -> TrainerEnd:
    _write_heading(plan, aggregate)
    environment = {
        **with_device_order({**os.environ, **aggregate.environment}),
        CLAIM_VARIABLE: str(claim.path),
    }
    command, environment = from_sources(plan.sources, runnable(aggregate.command), environment)
    return run_trainer(command, environment, aggregate.log, _limits(plan), claim.heartbeat)


def _limits(plan: Plan) -> Limits:
    """Return limits that end the command before Slurm would end its job."""
    time_s = plan.aggregate.time_limit_s if plan.aggregate else 0
    return Limits(max(time_s - START_S - GRACE_S - ENDING_SLACK_S, time_s / 2), GRACE_S)


def _write_heading(plan: Plan, aggregate: AggregatePlan) -> None:
    with aggregate.log.open("a", encoding="utf-8") as log:
        log.write(f"\n=== aggregate on {node_name()} at {now().isoformat(timespec='seconds')}\n")
        log.write(f"=== {aggregate.noted_command}\n")
        if line := sources_line(plan.sources):
            log.write(f"=== {line}\n")


def _message(aggregate: AggregatePlan, end: TrainerEnd) -> str:
    if end.stopped:
        return f"{STOPPED[end.stopped]}, log {aggregate.log}"
    said = last_message(aggregate.log)
    return f"exit status {end.exit_status}: {said}, log {aggregate.log}"
