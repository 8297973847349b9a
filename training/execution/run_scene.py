"""Run one scene from a launcher's thread or a Dask worker: a supervisor, and its outcome."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from training.execution.attempt import close_record
from training.execution.supervisor_client import keep_supervisor, take_supervisor
from training.execution.trainer_process import LAUNCHER_ASKS
from training.plan.model import ENDING_SLACK_S, Plan, ScenePlan
from training.records.claim import holder_of
from training.records.outcome import Outcome
from training.records.record import Cause
from training.system.stop_request import StopRequest

POLL_S = 0.5


def run_scene(plan: ScenePlan, gpu: str | None = None, stop: StopRequest | None = None) -> Outcome:
    """Run a scene to the end of one start; blocks the calling thread, which must live until then.

    `gpu` pins the trainer to one GPU. `stop` ends it as cancelled. Never raises for what a trainer
    does: the outcome says it.
    """
    if gpu is not None:
        pinned = {**plan.environment, "CUDA_VISIBLE_DEVICES": gpu}
        plan = plan.model_copy(update={"environment": pinned})
    supervisor = take_supervisor()
    try:
        outcome = Outcome.model_validate_json(supervisor.run(plan, _Oversight(plan, stop)))
    except ValidationError:
        return close_record(plan, os.getpid(), Cause.WORKER_LOST, supervisor.end())
    keep_supervisor(supervisor)
    return outcome


def mark_cancelled(plan: Plan) -> None:
    """Write down, before anything is stopped, that a plan ends by request and not by accident."""
    plan.cancelled.parent.mkdir(parents=True, exist_ok=True)
    plan.cancelled.touch()


def wait_until_ended(
    plans: Iterable[ScenePlan], timeout_s: float, at_once: Callable[[], bool]
) -> None:
    """Wait until no start of these scenes lives, at most `timeout_s`.

    Once `at_once` says so, those whose launcher is dead are not given the rest of their grace.
    """
    deadline = time.monotonic() + timeout_s
    left = list(plans)
    while left := [plan for plan in left if holder_of(plan.output) is not None]:
        if time.monotonic() >= deadline:
            return
        if at_once():
            _hurry(left)
        time.sleep(POLL_S)


def _hurry(plans: Iterable[ScenePlan]) -> None:
    """Tell supervisors that are ending already a second time, which ends them at once."""
    for holder in (holder_of(plan.output) for plan in plans):
        if holder is not None and holder.is_ending and holder.process.lives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.process.pid, signal.SIGTERM)


def ending_bound_s(plan: ScenePlan) -> float:
    """Seconds within which a stopped start has ended and its record says so."""
    return plan.kill_grace_s + ENDING_SLACK_S


class _Oversight:
    """Passes requests to stop on, and ends a supervisor that is overdue."""

    def __init__(self, plan: ScenePlan, stop: StopRequest | None) -> None:
        self._ending_s = ending_bound_s(plan)
        self._deadline = time.monotonic() + plan.time_limit_s + 2 * self._ending_s
        self._stop, self._told = stop, 0

    def __call__(self, supervisor: subprocess.Popen[bytes]) -> None:
        if self._stop is not None and self._told < self._stop.level:
            self._told += 1
            supervisor.send_signal(LAUNCHER_ASKS)
            self._deadline = time.monotonic() + self._ending_s
        if time.monotonic() > self._deadline:
            supervisor.kill()
