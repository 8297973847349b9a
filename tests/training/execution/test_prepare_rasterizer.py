"""The rasterizer is compiled before scenes start, once, and only for those that use it."""

from __future__ import annotations

import subprocess

import pytest
from page_lab import planned

from training.execution import prepare_rasterizer
from training.execution.prepare_rasterizer import compile_rasterizer
from training.plan.train_script import OWN_SCRIPT
from training.trainer.gaussians.cpu_rasterizer.compiled_code import code_folder


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan of one scene for the project's own trainer."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    made = planned(tmp_path, "a")
    (scene,) = made.scenes
    own = scene.model_copy(update={"command": ("python", str(OWN_SCRIPT)), "action": "run"})
    return made.model_copy(update={"scenes": (own,), "gpus": ()})


@pytest.fixture
def started(monkeypatch):
    """The processes that would have been started, with the state root that each is given."""
    calls = []

    def run(command, *, env, **_):
        calls.append((tuple(command[1:]), env["TS_STATE_ROOT"]))

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_it_is_compiled_below_the_plans_state_root(plan, started):
    compile_rasterizer(plan, 1)
    assert started == [(prepare_rasterizer.COMMAND, str(plan.roots.state_root))]


def test_not_where_it_is_compiled_already(plan, started):
    code_folder(plan.roots.state_root).mkdir(parents=True)
    compile_rasterizer(plan, 1)
    assert started == []


@pytest.mark.parametrize("why", ["another script", "nothing to run", "GPUs", "no numba"])
def test_not_where_nothing_would_use_it(plan, started, monkeypatch, why):
    (scene,) = plan.scenes
    changes = {
        "another script": {"command": ("python", "/elsewhere/simple_multi_human_trainer.py")},
        "nothing to run": {"action": "skip"},
    }
    if why == "GPUs":
        plan = plan.model_copy(update={"gpus": ("0",)})
    if why == "no numba":
        monkeypatch.setattr(prepare_rasterizer, "has_compiler", lambda: False)
    other = scene.model_copy(update=changes.get(why, {}))
    compile_rasterizer(plan.model_copy(update={"scenes": (other,)}), 1)
    assert started == []


@pytest.mark.parametrize("error", [OSError("no process"), subprocess.TimeoutExpired("python", 1)])
def test_a_failure_is_left_to_the_scenes(plan, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    compile_rasterizer(plan, 1)
