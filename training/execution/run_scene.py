"""Run one scene from a launcher's thread or a Dask worker, through a supervisor process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from training.execution.attempt import close_record, ending_bound_s
from training.execution.supervisor_client import keep_supervisor, take_supervisor
from training.execution.trainer_process import LAUNCHER_STOP
from training.plan.model import Plan, ScenePlan
from training.records.claim import Holder, holder_of
from training.records.outcome import Outcome
from training.records.record import Cause, RecordError
from training.system.gpus import VISIBLE_GPUS
from training.system.stop_request import StopRequest

POLL_S = 0.5


def run_scene(plan: ScenePlan, gpu: str | None = None, stop: StopRequest | None = None) -> Outcome:
    """Run one attempt of a scene to its end and return the outcome; never raises for its failure.

    Blocks the calling thread, which must live until then. `gpu` pins the trainer to one GPU; `stop`
    ends the attempt as cancelled.
    """
    if gpu is not None:
        pinned = {**plan.environment, VISIBLE_GPUS: gpu}
        plan = plan.model_copy(update={"environment": pinned})
    supervisor = take_supervisor()
    try:
        outcome = Outcome.model_validate_json(supervisor.run(plan, _SupervisorPoll(plan, stop)))
    except ValidationError:
        return close_record(plan, os.getpid(), Cause.WORKER_LOST, supervisor.end())
    keep_supervisor(supervisor)
    return outcome


def mark_cancelled(plan: Plan) -> None:
    """Mark a plan as cancelled, before anything of it is stopped: its attempts end as `cancelled`.

    Also those that the flows which it succeeds had begun. Raises OSError when the disk refuses.
    """
    plan.cancelled.parent.mkdir(parents=True, exist_ok=True)
    for plan_id in (plan.plan_id, *plan.succeeds):
        plan.cancelled.with_name(f"{plan_id}{plan.cancelled.suffix}").touch()


def wait_until_ended(
    plans: Iterable[ScenePlan], timeout_s: float, is_urgent: Callable[[], bool]
) -> None:
    """Wait until no attempt of these scenes lives, at most `timeout_s`.

    Once `is_urgent` says so, attempts whose launcher is dead are ended without the rest of their
    grace.
    """
    deadline = time.monotonic() + timeout_s
    left = list(plans)
    while left := [plan for plan in left if _holder(plan) is not None]:
        if time.monotonic() >= deadline:
            return
        if is_urgent():
            _end_at_once(left)
        time.sleep(POLL_S)


def _end_at_once(plans: Iterable[ScenePlan]) -> None:
    """Send supervisors that are ending already a second request, which ends them at once."""
    for holder in map(_holder, plans):
        if holder is not None and holder.is_ending and holder.process.lives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.process.pid, signal.SIGTERM)


def _holder(plan: ScenePlan) -> Holder | None:
    try:
        return holder_of(plan.output)
    except RecordError:  # not of this plan's attempts: they could not have claimed the folder
        return None


class _SupervisorPoll:
    """Pass requests to stop on to a supervisor, and kill one that is overdue."""

    def __init__(self, plan: ScenePlan, stop: StopRequest | None) -> None:
        self._ending_s = ending_bound_s(plan)
        self._deadline = time.monotonic() + plan.time_limit_s + 2 * self._ending_s
        self._stop, self._requests_sent = stop, 0

    def __call__(self, supervisor: subprocess.Popen[bytes]) -> None:
        if self._stop is not None and self._requests_sent < self._stop.level:
            self._requests_sent += 1
            supervisor.send_signal(LAUNCHER_STOP)
            self._deadline = time.monotonic() + self._ending_s
        if time.monotonic() > self._deadline:
            supervisor.kill()
