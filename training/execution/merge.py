"""The trainer's own aggregate: one command that merges what all scenes of a plan wrote."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from contextlib import ExitStack

from training.execution.attempt import claimed_by_own_job
from training.execution.trainer_process import STOP_SIGNALS, Limits, TrainerEnd, run_trainer
from training.plan.model import ENDING_SLACK_S, AggregatePlan, Plan, runnable
from training.plan.scene_decision import is_done
from training.plan.slurm_plan import START_S
from training.records.claim import Claim, ClaimHeldError
from training.records.record import RecordError, now
from training.snapshots.start import SourcesChangedError, from_sources, sources_line
from training.system.job_environment import node_name
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


def missing_scenes(plan: Plan) -> list[str]:
    """Return the scenes of a plan whose records don't say done: an aggregate needs all."""
    return [scene.name for scene in plan.scenes if not is_done(scene)]


def merge(plan: Plan) -> None:
    """Run a plan's aggregate command, if it has one; raises AggregateError.

    Only for a process that does nothing else and has called `block_signals`.
    """
    aggregate = plan.aggregate
    if aggregate is None or not aggregate.command:
        return
    try:
        with ExitStack() as stack:
            claim = _claim(plan, stack)
            end = _run(plan, aggregate, claim)
    except ClaimHeldError as error:
        raise AggregateError(f"another aggregate runs: {error.holder}") from error
    except (RecordError, SourcesChangedError, OSError) as error:
        raise AggregateError(f"it can't be started: {error}") from error
    _check(aggregate, end)


def _claim(plan: Plan, stack: ExitStack) -> Claim:
    """Claim the experiment's folder; wait for the aggregate of an earlier submission to end."""
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
    def heartbeat() -> None:
        with contextlib.suppress(OSError):
            claim.heartbeat()

    _write_heading(plan, aggregate)
    environment = {**os.environ, **aggregate.environment}
    command, environment = from_sources(plan.sources, runnable(aggregate.command), environment)
    return run_trainer(command, environment, aggregate.log, _limits(plan), heartbeat)


def _limits(plan: Plan) -> Limits:
    """Return limits that end the command before Slurm would end its job."""
    time_s = plan.aggregate.time_limit_s if plan.aggregate else 0
    return Limits(max(time_s - START_S - GRACE_S - ENDING_SLACK_S, time_s / 2), GRACE_S)


def _write_heading(plan: Plan, aggregate: AggregatePlan) -> None:
    with aggregate.log.open("a", encoding="utf-8") as log:
        log.write(f"\n=== aggregate on {node_name()} at {now().isoformat(timespec='seconds')}\n")
        log.write(f"=== {aggregate.command_line}\n")
        if line := sources_line(plan.sources):
            log.write(f"=== {line}\n")


def _check(aggregate: AggregatePlan, end: TrainerEnd) -> None:
    """Raise AggregateError unless the command ended by itself with exit status 0."""
    if end.stopped:
        raise AggregateError(f"{STOPPED[end.stopped]}, log {aggregate.log}")
    if end.exit_status != 0:
        said = last_message(aggregate.log)
        raise AggregateError(f"exit status {end.exit_status}: {said}, log {aggregate.log}")
