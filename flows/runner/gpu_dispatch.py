"""Run scenes on Dask workers of this machine, each in a place on a GPU that is its own."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Sequence
from typing import Any

from flows.adapters.dask_adapter import Client
from flows.runner.dispatch import AnyWorkerDispatcher, Call, StoppedError
from flows.runner.local_cluster import local_cluster
from flows.runner.scene_events import SceneEvents
from flows.runner.task_runner import SceneTaskRunner
from flows.runner.tasks import SceneNotDoneError
from training.execution.gpu_queue import GivenUpError, lent_gpu
from training.plan.model import Plan, ScenePlan


class GpuDispatcher(AnyWorkerDispatcher):
    """Lends a GPU to each call, whose one argument is a scene; without GPUs it only runs it."""

    def __init__(self, client: Client, gpus: Sequence[str], events: SceneEvents) -> None:
        super().__init__(client)
        self._gpus, self._events = gpus, events

    def run(self, call: Call, stop: threading.Event) -> Any:
        """See `Dispatcher.run`."""
        if not self._gpus:
            return super().run(call, stop)
        scene: ScenePlan = call.args[0]
        sharing = self._events.sharing

        def gives_up() -> bool:
            return stop.is_set() or scene.enough_failures.exists()

        try:
            with lent_gpu(self._gpus, scene, sharing, self._events.say, gives_up) as gpu:
                self._events.on_gpu_granted(scene)
                on_gpu = functools.partial(call.func, sharing.planned(scene), gpu=gpu)
                return self._run_noted(on_gpu, stop)
        except GivenUpError as error:
            if stop.is_set():
                raise StoppedError("the flow stopped before this had a GPU") from error
            return super().run(call, stop)  # which starts nothing after so many failures

    def _run_noted(self, call: Call, stop: threading.Event) -> Any:
        try:
            return super().run(call, stop)
        except SceneNotDoneError as error:
            self._events.sharing.note_end(error.outcome)
            raise


def local_runner(plan: Plan, events: SceneEvents) -> SceneTaskRunner:
    """Return a runner of a plan's scenes on this machine, each on a GPU where there are some."""
    workers = min(plan.workers, len(plan.of("run")))
    return SceneTaskRunner(
        max_workers=workers,
        make_dispatcher=lambda runner: GpuDispatcher(runner.client, plan.gpus, events),
        cluster_class=local_cluster,
        # A failed scene is reported by its task run, not by a traceback in a worker's log.
        cluster_kwargs={"workers": workers, "log_level": logging.CRITICAL},
    )
