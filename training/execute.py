"""Run one scene from a launcher's thread or a Dask worker: a supervisor, and its outcome."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from training.attempt import ENDING_SLACK_S, close_record
from training.claims import holder_of
from training.outcome import Outcome
from training.plan import Plan, ScenePlan
from training.records import Cause
from training.settings import CHECKOUT
from training.stopping import StopRequest
from training.trainer_process import LAUNCHER_ASKS

POLL_S = 0.5
SUPERVISOR = "training.supervise"


class _Spare(threading.local):
    """A supervisor that waits for its plan: the kernel ends it with the thread that started it."""

    process: subprocess.Popen[bytes] | None = None


_spare = _Spare()


def run_scene(
    plan: ScenePlan,
    gpu: str | None = None,
    stop: StopRequest | None = None,
    *,
    another_follows: bool = False,
) -> Outcome:
    """Run a scene to the end of one start; blocks the calling thread, which must live until then.

    `gpu` pins the trainer to one GPU. `stop` ends it as cancelled. `another_follows`: meanwhile
    make ready for the next call on this thread. Never raises for what a trainer does: the outcome
    says it.
    """
    if gpu is not None:
        pinned = {**plan.environment, "CUDA_VISIBLE_DEVICES": gpu}
        plan = plan.model_copy(update={"environment": pinned})
    supervisor = _take_supervisor()
    if another_follows:
        _spare.process = _start_supervisor()
    try:
        out, err = _communicate(supervisor, plan, stop)
    finally:
        if supervisor.poll() is None:
            supervisor.kill()
            supervisor.wait()
    try:
        return Outcome.model_validate_json(out)
    except ValidationError:
        return _supervisor_lost(plan, supervisor.returncode, err)


def _take_supervisor() -> subprocess.Popen[bytes]:
    spare, _spare.process = _spare.process, None
    return spare if spare is not None and spare.poll() is None else _start_supervisor()


def _start_supervisor() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", SUPERVISOR, str(os.getpid())],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a terminal's Ctrl-C is the launcher's to handle
    )


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


def _communicate(
    supervisor: subprocess.Popen[bytes], plan: ScenePlan, stop: StopRequest | None
) -> tuple[bytes, bytes]:
    """Give the supervisor its plan, take its outcome, pass on requests to stop."""
    given: bytes | None = plan.model_dump_json().encode()
    deadline = time.monotonic() + plan.time_limit_s + 2 * ending_bound_s(plan)
    told = 0
    while True:
        try:
            return supervisor.communicate(given, timeout=POLL_S)
        except subprocess.TimeoutExpired:
            given = None
        if stop is not None and told < stop.urgency:
            told += 1
            supervisor.send_signal(LAUNCHER_ASKS)
            deadline = time.monotonic() + ending_bound_s(plan)
        if time.monotonic() > deadline:
            supervisor.kill()


def _supervisor_lost(plan: ScenePlan, status: int, err: bytes) -> Outcome:
    words = err.decode(errors="replace").strip().splitlines()
    last = f": {words[-1]}" if words else ""
    message = f"its supervisor ended with status {status}{last}"
    return close_record(plan, os.getpid(), Cause.WORKER_LOST, message)
