"""The trainer's own aggregate: one command that merges what all scenes of a plan wrote."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from preprocess.roots import CHECKOUT
from training.execution.attempt import claim
from training.execution.trainer_process import ASKED, Limits, TrainerEnd, run_trainer
from training.plan.model import ENDING_SLACK_S, AggregatePlan, Plan, runnable
from training.plan.scene_decision import is_done
from training.plan.slurm_plan import START_S
from training.records.claim import Claim, ClaimHeldError
from training.records.record import now
from training.system.job_environment import node_name
from training.system.scene_log import last_words
from training.system.stop_request import StopRequest

MODULE = "training.jobs.aggregate_task"
GRACE_S = 20
POLL_S = 1.0
STOPPED = {
    "timeout": "stopped at its time limit (--aggregate-time)",
    "asked": "told to end",
    "launcher": "told to end",
    "orphaned": "the process that had launched it died",
}


class AggregateError(Exception):
    """The aggregate did not end well."""


def merge_in_process(plan: Plan, stop: StopRequest) -> None:
    """Merge and summarise in a process of its own, which needs all signals for itself.

    Raises AggregateError in words.
    """
    limit_s = plan.aggregate.time_limit_s if plan.aggregate else 0
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, str(plan.file)],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline, told = time.monotonic() + limit_s, 0
    while True:
        try:
            said, _ = process.communicate(timeout=POLL_S)
            break
        except subprocess.TimeoutExpired:
            if told < max(stop.level, int(time.monotonic() > deadline)):
                told += 1
                process.terminate()
    if process.returncode != 0:
        raise AggregateError(said.strip() or f"exit status {process.returncode}")


def missing_scenes(plan: Plan) -> list[str]:
    """The scenes of a plan that are not done by their records: an aggregate needs them all."""
    return [scene.name for scene in plan.scenes if not is_done(scene)]


def merge(plan: Plan) -> str:
    """Run a plan's aggregate command, if it has one; what went wrong, or nothing.

    For a process that does nothing else and has blocked the signals of `run_trainer`.
    """
    if plan.aggregate is None or not plan.aggregate.command:
        return ""
    try:
        held = _claim(plan)
    except ClaimHeldError as error:
        return f"another aggregate runs: {error.holder}"
    except OSError as error:
        return f"its folder can't be written: {error}"

    def heartbeat() -> None:
        with contextlib.suppress(OSError):
            held.heartbeat()

    try:
        _write_heading(plan.aggregate)
        environment = {**os.environ, **plan.aggregate.environment}
        command, log = runnable(plan.aggregate.command), plan.aggregate.log
        return _fault_of(
            plan.aggregate, run_trainer(command, environment, log, _limits(plan), heartbeat)
        )
    except OSError as error:
        return f"it can't be started: {error}"
    finally:
        with contextlib.suppress(OSError):
            held.release()


def _claim(plan: Plan) -> Claim:
    """The experiment's folder; another aggregate, of an earlier submission, goes first."""
    deadline = time.monotonic() + _limits(plan).time_s
    while True:
        try:
            return claim(plan.roots.experiment_folder(plan.exp_name), os.getpid(), ENDING_SLACK_S)
        except ClaimHeldError:
            told_to_end = signal.sigtimedwait(ASKED, POLL_S)
            if told_to_end or time.monotonic() > deadline:
                raise


def _limits(plan: Plan) -> Limits:
    """Ours come before Slurm's, as a scene's do."""
    time_s = plan.aggregate.time_limit_s if plan.aggregate else 0
    return Limits(max(time_s - START_S - GRACE_S - ENDING_SLACK_S, time_s / 2), GRACE_S)


def _write_heading(aggregate: AggregatePlan) -> None:
    with aggregate.log.open("a", encoding="utf-8") as log:
        log.write(f"\n=== aggregate on {node_name()} at {now().isoformat(timespec='seconds')}\n")
        log.write(f"=== {aggregate.command_line}\n")


def _fault_of(aggregate: AggregatePlan, end: TrainerEnd) -> str:
    if end.stopped:
        return f"{STOPPED[end.stopped]}, log {aggregate.log}"
    if end.exit_status != 0:
        said = last_words(aggregate.log)
        return f"exit status {end.exit_status}: {said}, log {aggregate.log}"
    return ""
