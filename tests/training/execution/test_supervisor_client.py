"""A thread's supervisor serves one scene after the other; no fault of one harms the next."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from training.execution import supervisor_client
from training.execution.run_scene import run_scene
from training.plan.model import ScenePlan
from training.records.record import read_record
from training.system.stop_request import StopRequest

TRAINER = """
import os, pathlib, subprocess, sys, time
out = pathlib.Path(os.environ["OUT"])
what = sys.argv[1]
if what == "orphan":
    subprocess.Popen(["sleep", "600"], start_new_session=True)
if what == "hang":
    (out / "ready").touch()
    time.sleep(600)
(out / "done").write_text(str(os.getppid()))
"""


@pytest.fixture
def scene(tmp_path):
    """Return a function that makes the plan of a scene by its name and what its trainer does."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)

    def make(name, what="ok", **more):
        output = tmp_path / name / "exp"
        fields = {
            "name": name,
            "exp_name": "exp",
            "scene": more,
            "scene_file": tmp_path / f"{name}.json",
            "action": "run",
            "reason": "new",
            "command": (sys.executable, str(script), what),
            "environment": {"OUT": str(output)},
            "output": output,
            "fingerprint": "f",
            "expected_outputs": ("done",),
            "time_limit_s": 60,
            "kill_grace_s": 1,
            "cancelled": tmp_path / "plans" / "exp.cancelled",
        }
        output.mkdir(parents=True)
        return ScenePlan(**fields)

    return make


@pytest.fixture
def thread():
    """Return a function that calls `run_scene` on one thread, as launchers do."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda *args, **more: pool.submit(run_scene, *args, **more)


def supervisor_of(plan):
    return int((plan.output / "done").read_text())


def test_scenes_of_a_thread_have_one_supervisor_and_it_ends_with_the_thread(scene):
    """Its imports are paid for once."""
    plans = [scene("a"), scene("b")]
    with ThreadPoolExecutor(1) as pool:
        outcomes = list(pool.map(run_scene, plans))
        assert [outcome.status for outcome in outcomes] == ["done", "done"]
        (pid,) = {supervisor_of(plan) for plan in plans}
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_each_thread_has_its_own_supervisor(scene):
    """Two threads, one after the other, have two."""
    plans, pids = [scene("a"), scene("b")], set()
    for plan in plans:
        thread = threading.Thread(target=run_scene, args=[plan])
        thread.start()
        thread.join()
        pids.add(supervisor_of(plan))
    assert len(pids) == 2


def test_a_supervisor_that_was_killed_between_two_scenes_is_replaced(scene, thread, eventually):
    """The next scene does not fail."""
    first, second = scene("a"), scene("b")
    thread(first).result()
    pid = supervisor_of(first)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "its end")
    assert thread(second).result().status == "done"
    assert supervisor_of(second) != pid


def test_a_supervisor_that_is_killed_during_a_scene_fails_this_scene_only(
    scene, thread, eventually
):
    """The launcher records the end; the next scene runs."""
    hanging = scene("a", "hang")
    future = thread(hanging)
    eventually((hanging.output / "ready").exists, "the trainer")
    os.kill(read_record(hanging.output).attempts[0].pid, signal.SIGKILL)
    outcome = future.result(timeout=30)
    assert (outcome.cause, outcome.status) == ("worker_lost", "failed")
    assert "was ended by SIGKILL" in outcome.message
    assert read_record(hanging.output).cause == "worker_lost"
    assert thread(scene("b")).result().status == "done"


def test_a_stop_of_one_scene_does_not_stop_the_next(scene, thread, eventually):
    """Nor does a signal between the two that was meant for the trainer before."""
    stop = StopRequest()
    hanging = scene("a", "hang")
    future = thread(hanging, stop=stop)
    eventually((hanging.output / "ready").exists, "the trainer")
    supervisor = read_record(hanging.output).attempts[0].pid
    stop.request()
    assert future.result(timeout=30).status != "done"
    os.kill(supervisor, signal.SIGUSR1)
    after = scene("b")
    assert thread(after).result().status == "done"
    assert supervisor_of(after) == supervisor


def test_what_a_trainer_leaves_behind_is_ended_and_reaped(scene, thread):
    """Before the next scene: neither a process nor a zombie of it."""
    first = scene("a", "orphan")
    thread(first).result()
    after = scene("b")
    assert thread(after).result().status == "done"
    assert psutil.Process(supervisor_of(after)).children() == []


def test_a_large_scene_reaches_the_supervisor(scene, thread):
    """It is larger than a pipe's buffer."""
    plan = scene("a", notes="x" * 1_000_000)
    assert thread(plan).result().status == "done"


def test_a_supervisor_that_cannot_start_is_a_lost_worker(scene, thread, monkeypatch):
    """The message ends with the last line that it printed."""
    monkeypatch.setattr(supervisor_client, "SUPERVISOR", "training.nowhere")
    outcome = thread(scene("a")).result(timeout=30)
    assert outcome.cause == "worker_lost"
    assert "No module named training.nowhere" in outcome.message


def test_threads_do_not_share_a_supervisor(scene, tmp_path):
    """The kernel ties a supervisor to the thread that started it."""
    with ThreadPoolExecutor(2) as pool:
        barrier = threading.Barrier(2)

        def run(name):
            plan = scene(name)
            barrier.wait(30)
            return run_scene(plan), supervisor_of(plan)

        (_, one), (_, other) = pool.map(run, "ab")
    assert one != other
    assert not Path(tmp_path, "plans").exists()
