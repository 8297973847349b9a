"""Run a plan's scenes on this machine, several at once, and tell the terminal how they fare."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.display.lines import Lines
from training.execution.launcher_process import note_launch
from training.execution.run_scene import mark_cancelled, run_scene
from training.plan.model import Plan, ScenePlan
from training.records.outcome import Outcome
from training.records.retry_policy import should_retry
from training.system.atomic_write import write_atomically
from training.system.gpus import GpuSlots
from training.system.stop_request import StopRequest, stop_on_signals

SHOW_EVERY_S = 1.0
BUILD_TIMEOUT_S = 3600
STOPPING = "stopping: trainers may write a checkpoint; once more stops at once"


@dataclass
class _Run:
    """What the threads of one launch share."""

    plan: Plan
    stop: StopRequest
    gpus: GpuSlots
    display: Lines
    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: int = 0

    def gives_up(self) -> bool:
        limit = self.plan.max_failures
        return self.stop.level > 0 or (limit > 0 and self.failures >= limit)

    def note(self, outcome: Outcome) -> None:
        with self.lock:
            self.failures += outcome.status == "failed"


def start(plan: Plan) -> None:
    """Keep the plan, and who runs it, and build the scene data that has a recipe.

    Raises FaultsError when either can't be written.
    """
    try:
        write_atomically(plan.file, plan.model_dump_json(indent=1))
        note_launch(plan.file)
    except OSError as error:
        raise FaultsError([Fault("the plan can't be kept", str(error))]) from error
    build_scene_data(plan)


def build_scene_data(plan: Plan) -> None:
    """Build what is missing of synthetic scenes, in a process of its own: it needs torch."""
    names = [scene.name for scene in plan.of("run") if scene.builds_data]
    if not names:
        return
    folders = sorted({str(scene.scene_file.parent) for scene in plan.of("run")})
    command = [sys.executable, "-m", "preprocess.synthetic", "--scenes-dir", folders[0]]
    command += ["--scene-data-root", str(plan.roots.scene_data_root), *names]
    result = subprocess.run(
        command,
        cwd=CHECKOUT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        raise FaultsError([Fault("scene data can't be built", result.stderr.strip())])


def run_plan(plan: Plan, display: Lines) -> StopRequest:
    """Run every scene that is to run; returns whether a stop was asked for."""

    def on_first_signal() -> None:
        with contextlib.suppress(OSError):  # then records say worker_lost instead of cancelled
            mark_cancelled(plan)

    with stop_on_signals(on_first_signal) as stop:
        run = _Run(plan, stop, GpuSlots(plan.gpus), display)
        with ThreadPoolExecutor(max_workers=plan.workers) as threads:
            futures = [threads.submit(_to_the_end, run, scene) for scene in plan.of("run")]
            _watch(plan, futures, display, stop)
    for future in futures:
        future.result()  # raises what should not have happened
    return stop


def _to_the_end(run: _Run, scene: ScenePlan) -> None:
    """One scene with the starts that its causes allow; none when enough have failed."""
    starts = 0
    while not run.gives_up():
        starts += 1
        run.display.started(scene, starts)
        with run.gpus.lend() as gpu:
            outcome = run_scene(scene, gpu, run.stop)
        run.display.ended(scene, outcome)
        cause = outcome.cause
        again = cause and should_retry(cause, starts, run.plan.max_retries, outcome.has_checkpoint)
        if not again:
            run.note(outcome)
            break


def _watch(plan: Plan, futures: Iterable[Future[None]], display: Lines, stop: StopRequest) -> None:
    left, told = set(futures), False
    while left:
        _, left = wait(left, timeout=SHOW_EVERY_S, return_when=FIRST_COMPLETED)
        display.refresh()
        if plan.cancelled.exists():  # by --cancel, maybe on another machine
            stop.request_once()
        if stop.level and not told:
            display.say(STOPPING)
            told = True
