"""Run a plan's scenes on this machine, several at once, and report events to the display."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from preprocess.faults import Fault, FaultsError, counted
from preprocess.roots import CHECKOUT
from training.display.lines import Lines, Notices
from training.execution.gpu_queue import GivenUpError, lent_gpu
from training.execution.gpu_sharing import GpuSharing
from training.execution.launcher_process import note_launcher
from training.execution.prepare_gpu import prepare_gpu
from training.execution.prepare_rasterizer import compile_rasterizer
from training.execution.run_scene import mark_cancelled, run_scene
from training.plan.experiments import noted_snapshots
from training.plan.model import Plan, ScenePlan
from training.plan.plan_file import write_plan
from training.records.outcome import Outcome
from training.records.retry_policy import should_retry
from training.system.atomic_write import write_atomically
from training.system.stop_request import StopRequest, stop_on_signals
from training.system.waiting import awaited

SHOW_EVERY_S = 1.0
BUILD_TIMEOUT_S = 3600
STOPPING = "stopping: trainers may write a checkpoint; once more stops at once"


@dataclass
class _Launch:
    """What the threads of one launch share."""

    plan: Plan
    stop: StopRequest
    display: Lines
    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: int = 0
    notices: Notices = field(init=False)
    sharing: GpuSharing = field(init=False)

    def __post_init__(self) -> None:
        self.notices = Notices(self.display.say)
        self.sharing = GpuSharing(self.plan.scenes_per_gpu, self.display.say)

    def may_start(self) -> bool:
        """Return whether attempts are still started: no stop was requested, few enough failed."""
        limit = self.plan.max_failures
        return self.stop.level == 0 and (limit == 0 or self.failures < limit)

    def gpu_for(self, scene: ScenePlan) -> AbstractContextManager[str | None]:
        """Return `lent_gpu` for a scene of this launch."""
        say_once, gives_up = self.display.say, lambda: not self.may_start()
        return lent_gpu(self.plan.gpus, scene, self.sharing, say_once, gives_up)

    def will_retry(self, scene: ScenePlan, outcome: Outcome, attempt: int) -> bool:
        """Return whether a scene is started again after that attempt."""
        has_more_memory = self.sharing.has_more_memory(scene.name)
        return self.may_start() and should_retry(
            outcome, attempt, self.plan.max_retries, has_more_memory=has_more_memory
        )

    def count_failure(self, outcome: Outcome) -> None:
        with self.lock:
            self.failures += outcome.status == "failed"


def prepare_launch(plans: Sequence[Plan]) -> None:
    """Keep plans and sources, note that this process runs them, make what scenes need.

    That is the data of synthetic scenes and, for scenes that run here, compiled code: the
    rasterizer's, or gsplat's where there are GPUs; nodes may have others. Raises FaultsError when
    any of it can't be written.
    """
    for plan in plans:
        with awaited("the trainer's sources are copied"):
            _keep_sources(plan)
        try:
            write_plan(plan)
            note_launcher(plan.file)
        except OSError as error:
            raise FaultsError([Fault("the plan can't be kept", str(error))]) from error
    build_scene_data(plans)
    first = next((plan for plan in plans if plan.of("run")), plans[0])
    if first.slurm is None:
        compile_rasterizer(first, BUILD_TIMEOUT_S)
    if first.gpus:
        with awaited("the trainer's GPU code is compiled, once"):
            prepare_gpu(first, first.gpus[0])


def _keep_sources(plan: Plan) -> None:
    """Keep the snapshot that the plan's attempts run from, and remove those that no plan needs."""
    from training.snapshots.keep import keep, remove_unneeded

    reading = plan.take_reading()
    if reading is None:
        return
    keep(reading)
    try:
        write_atomically(plan.snapshot_note, reading.sources.digest)
    except OSError as error:
        raise FaultsError([Fault("the plan can't be kept", str(error))]) from error
    remove_unneeded(reading.sources.folder, lambda: noted_snapshots(plan.roots))


def scenes_without_data(plans: Sequence[Plan]) -> list[str]:
    """Return the names of the synthetic scenes whose data a launch of these plans has to build."""
    found = (
        scene.scene_name
        for plan in plans
        for scene in plan.of("run")
        if scene.builds_data and not (plan.roots.scene_data_root / scene.scene_name).exists()
    )
    return list(dict.fromkeys(found))


def build_scene_data(plans: Sequence[Plan]) -> None:
    """Build missing data of synthetic scenes in a child process, since that imports torch.

    Raises FaultsError with what the child said.
    """
    scenes = [scene for plan in plans for scene in plan.of("run") if scene.builds_data]
    if not scenes:
        return
    names = dict.fromkeys(scene.scene_name for scene in scenes)
    folder = min(str(scene.scene_file.parent) for scene in scenes)
    command = [sys.executable, "-m", "preprocess.synthetic", "--scenes-dir", folder]
    command += ["--scene-data-root", str(plans[0].roots.scene_data_root), *names]
    try:
        with awaited(f"data of {counted(len(names), 'synthetic scene')} is built, once"):
            result = subprocess.run(
                command,
                cwd=CHECKOUT,
                stderr=subprocess.PIPE,
                text=True,
                timeout=BUILD_TIMEOUT_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        remedy = "what was built is kept: run the same command again"
        value = f"stopped after {BUILD_TIMEOUT_S} s"
        raise FaultsError([Fault("scene data can't be built", value, remedy)]) from error
    if result.returncode != 0:
        raise FaultsError([Fault("scene data can't be built", result.stderr.strip())])


def run_plan(plan: Plan, display: Lines) -> StopRequest:
    """Run every scene that is to run, until all have ended; return the request to stop.

    SIGINT, SIGTERM, SIGHUP and the plan's mark of --cancel set the request.
    """

    def on_first_signal() -> None:
        with contextlib.suppress(OSError):  # then records say worker_lost instead of cancelled
            mark_cancelled(plan)

    with stop_on_signals(on_first_signal) as stop:
        launch = _Launch(plan, stop, display)
        with ThreadPoolExecutor(max_workers=plan.workers) as threads:
            futures = [threads.submit(_run_with_retries, launch, each) for each in plan.of("run")]
            _wait(launch, futures)
    for future in futures:
        future.result()  # raises what should not have happened
    return stop


def _run_with_retries(launch: _Launch, scene: ScenePlan) -> None:
    """Run one scene, again as often as the causes of its ends allow."""
    attempt, will_retry = 0, True
    while will_retry and launch.may_start():
        attempt += 1
        try:
            with launch.gpu_for(scene) as gpu:
                launch.display.started(scene, attempt)
                outcome = run_scene(launch.sharing.planned(scene), gpu, launch.stop)
                launch.sharing.note_end(outcome)
        except GivenUpError:
            return
        will_retry = launch.will_retry(scene, outcome, attempt)
        launch.display.ended(scene, outcome, will_retry=will_retry)
        launch.sharing.tell_end(outcome, will_retry=will_retry)
        launch.notices.tell(outcome.notice)
        if not will_retry:
            launch.count_failure(outcome)


def _wait(launch: _Launch, futures: Iterable[Future[None]]) -> None:
    """Wait for all threads; refresh the display and look for a stop meanwhile."""
    left, was_said = set(futures), False
    while left:
        _, left = wait(left, timeout=SHOW_EVERY_S)  # for each end it would look at all of them
        launch.display.refresh()
        if launch.plan.cancelled.exists():  # by --cancel, maybe on another machine
            launch.stop.request_once()
        if launch.stop.level and not was_said:
            launch.display.say(STOPPING)
            was_said = True
