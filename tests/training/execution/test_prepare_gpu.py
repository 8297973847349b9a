"""What training on a GPU needs is compiled before scenes start, wherever they are started."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from preprocess.faults import Fault, FaultsError
from training.execution import local, prepare_gpu
from training.jobs import array_task


def plan_with(command, gpus=("0",)):
    scene = SimpleNamespace(command=command, environment={"GIVEN": "1"})
    return SimpleNamespace(of=lambda _: (scene,), sources=None, gpus=gpus)


def test_the_trainer_is_prepared_on_one_gpu_with_the_scene_s_configuration(monkeypatch, tmp_path):
    """Another trainer is left alone; what ours says when it fails is the fault."""
    trainer = tmp_path / "trainer.py"
    trainer.write_text(
        "import os, sys\n"
        "sys.exit(f\"{sys.argv[1:]} {os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['GIVEN']}\")"
    )
    plan = plan_with(("python", str(trainer), "device=cuda"))
    prepare_gpu.prepare_gpu(plan, "3")
    monkeypatch.setattr(prepare_gpu, "OWN_SCRIPT", trainer)
    with pytest.raises(FaultsError, match=r"\['--prepare-gpu', 'device=cuda'\] 3 1"):
        prepare_gpu.prepare_gpu(plan, "3")


@pytest.mark.parametrize(("gpus", "prepared"), [(("5", "6"), ["5"]), ((), [])])
def test_a_launch_prepares_once_where_there_are_gpus(monkeypatch, gpus, prepared):
    """After everything else that can go wrong, before the first scene."""
    seen = []
    for name in ("_keep_sources", "write_plan", "note_launcher", "build_scene_data"):
        monkeypatch.setattr(local, name, lambda *_: None)
    monkeypatch.setattr(local, "compile_rasterizer", lambda *_: None)
    monkeypatch.setattr(local, "prepare_gpu", lambda _, gpu: seen.append(gpu))
    plan = SimpleNamespace(gpus=gpus, slurm=None, file=None, of=lambda _: ())
    local.prepare_launch([plan])
    assert seen == prepared


@pytest.mark.parametrize(("gpus", "prepared"), [(("0",), 1), ((), 0)])
def test_an_array_task_prepares_where_it_has_a_gpu_and_goes_on(monkeypatch, capsys, gpus, prepared):
    """What is wrong is said: the scene's own attempt ends by it, and records it."""
    calls = []

    def fail(plan):
        calls.append(plan)
        raise FaultsError([Fault("there is no nvcc")])

    monkeypatch.setattr(array_task, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(array_task, "prepare_gpu", fail)
    array_task._prepare_gpu("plan")
    assert calls == ["plan"] * prepared
    assert ("no nvcc" in capsys.readouterr().out) == bool(prepared)
