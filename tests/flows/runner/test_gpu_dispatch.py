"""Scenes of a flow wait for a GPU that another process uses."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading

import pytest
from page_lab import planned

from flows.runner.dispatch import AnyWorkerDispatcher, StoppedError
from flows.runner.gpu_dispatch import GpuDispatcher
from flows.runner.tasks import SceneNotDoneError
from training.execution.gpu_sharing import GpuSharing
from training.records.outcome import Outcome
from training.records.record import Cause
from training.system.gpus import lock_file

HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print(flush=True)
    sys.stdin.read()
"""


class Events:
    """What is told of a flow's scenes."""

    def __init__(self) -> None:
        self.waits, self.granted = threading.Event(), []
        self.sharing = GpuSharing(1, self.say)

    def say(self, text: str) -> None:
        self.text = text
        self.waits.set()

    def on_gpu_granted(self, scene) -> None:
        self.granted.append(scene.name)


@pytest.fixture
def gpu():
    """The made-up name of a GPU, the first of all, that no other test uses."""
    name = f"GPU-{os.getpid()}-dispatch"
    yield name
    for file in lock_file(name).parent.glob(f"{lock_file(name).name}*"):
        file.unlink()


@pytest.fixture
def other_process(gpu):
    """A process that holds the GPU."""
    command = [sys.executable, "-c", HOLD, str(lock_file(gpu))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def run(gpu, tmp_path, monkeypatch):
    """Run a scene's call, which returns the GPU that it was given."""
    monkeypatch.setattr(AnyWorkerDispatcher, "run", lambda _, call, stop: call.keywords["gpu"])  # noqa: ARG005
    scene = planned(tmp_path, "a").scenes[0]
    events = Events()

    def call(stop: threading.Event, outcomes: list) -> None:
        try:
            dispatcher = GpuDispatcher(None, [gpu], events)
            outcomes.append(dispatcher.run(functools.partial(print, scene), stop))
        except StoppedError as error:
            outcomes.append(error)

    return events, call


def test_the_bound_is_halved_while_a_scene_that_ran_out_of_memory_has_its_place(
    gpu, tmp_path, monkeypatch
):
    """Nothing is started there under the former bound; the scene's plan says which that was."""
    (scene,) = planned(tmp_path, "a").scenes
    events, places, given = Events(), [], []
    events.sharing = GpuSharing(4, events.say)

    def run_out(_, call, stop) -> None:  # noqa: ARG001
        given.append(call.args[0].scenes_on_gpu)
        outcome = Outcome(scene="a", status="failed", cause=Cause.OUT_OF_MEMORY, log=scene.log)
        raise SceneNotDoneError(outcome)

    monkeypatch.setattr(os, "close", lambda _: places.append(events.sharing.bound))
    monkeypatch.setattr(AnyWorkerDispatcher, "run", run_out)
    with pytest.raises(SceneNotDoneError):
        GpuDispatcher(None, [gpu], events).run(functools.partial(print, scene), threading.Event())
    assert given == [4]
    assert places[-1] == 2


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_scene_starts_when_the_gpu_is_free_or_not_at_all(gpu, other_process, run, is_stopped):
    """It is told that it waits, and started only with the GPU; a stopped flow waits no more."""
    events, call = run
    stop, outcomes = threading.Event(), []
    thread = threading.Thread(target=call, args=(stop, outcomes))
    thread.start()
    assert events.waits.wait(60)
    assert f"a: waits for a GPU, {gpu} is in use" in events.text
    assert events.granted == []
    if is_stopped:
        stop.set()
    else:
        other_process.kill()
    thread.join(60)
    if is_stopped:
        assert isinstance(outcomes[0], StoppedError)
        assert events.granted == []
    else:
        assert (outcomes, events.granted) == ([gpu], ["a"])
