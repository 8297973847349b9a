"""What training on a GPU would lack is said when the plan is made."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows.options import FlowOptions
from preprocess.faults import Fault, FaultsError
from training.plan import gpu_checks
from training.plan.make_plan import make_plan
from training.plan.options import LaunchOptions, checked_options

NO_NVCC = Fault("gsplat can't be compiled: there is no nvcc")
WITH_GPU = SimpleNamespace(
    script=SimpleNamespace(name="submit.slurm"), script_text="a gpu", light_script_text="none"
)
WITHOUT_GPU = SimpleNamespace(
    script=SimpleNamespace(name="cpu.slurm"), script_text="none", light_script_text="none"
)


@pytest.fixture
def machine(monkeypatch):
    """Make this machine one with such a PyTorch, and with or without nvcc or compiled code."""

    def make(cuda, missing=(), *, compiled=False):
        extension = gpu_checks.gsplat_extension
        monkeypatch.setattr(extension, "torch_cuda", lambda: cuda)
        monkeypatch.setattr(extension, "missing_compilers", lambda: list(missing))
        monkeypatch.setattr(extension, "is_compiled", lambda: compiled)

    return make


@pytest.mark.parametrize(
    ("device", "gpus", "compiled", "is_fault"),
    [
        ("cuda", ("0",), False, True),
        ("auto", ("0",), False, True),
        ("auto", ("0",), True, False),
        ("auto", (), False, False),
        ("cpu", ("0",), False, False),
        ("cuda", (), False, True),
    ],
)
def test_scenes_that_would_need_a_compiler_here_are_refused(
    machine, device, gpus, compiled, is_fault
):
    """Where scenes will use a GPU, nothing is compiled yet, and it can't be."""
    machine("12.8", [NO_NVCC], compiled=compiled)
    faults, warnings = gpu_checks.gpu_problems(device, gpus, None)
    assert faults == [NO_NVCC] * is_fault
    assert warnings == []


def test_gpus_that_would_idle_are_said(machine):
    """With a PyTorch for the CPU: here, and in jobs whose script activates no other one."""
    machine(None, [NO_NVCC])
    assert gpu_checks.gpu_problems("auto", ("0", "1"), None) == (
        [],
        ["2 GPUs here, but PyTorch is a build without CUDA: scenes are trained on the CPU"],
    )
    faults, (warning,) = gpu_checks.gpu_problems("auto", (), WITH_GPU)
    assert faults == []
    assert "submit.slurm asks for GPUs" in warning
    faults, (warning,) = gpu_checks.gpu_problems("cuda", (), WITHOUT_GPU)
    assert faults == []
    assert "device=cuda" in warning
    assert gpu_checks.gpu_problems("auto", (), WITHOUT_GPU) == ([], [])
    machine("12.8", [NO_NVCC])
    assert gpu_checks.gpu_problems("auto", (), WITH_GPU) == ([], [])


def test_a_plan_for_cuda_is_refused_with_the_other_faults(lab, monkeypatch):
    """Before anything is created: on a PyTorch without CUDA, named beside another fault."""
    monkeypatch.setattr(gpu_checks.gsplat_extension, "torch_cuda", lambda: None)
    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)
    lab.add_scene("a_1")
    given = {"exp_name": "exp", "scenes_dir": str(lab.scenes_dir), "dry_run": True}
    options = checked_options(LaunchOptions, {**given, "overrides": ("device=cuda", "sed=1")})
    with pytest.raises(FaultsError) as caught:
        make_plan(options)
    assert "PyTorch is a build without CUDA" in str(caught.value)
    assert "sed" in str(caught.value)
    assert "device=cpu" in str(caught.value)


ON_SLURM = {"cluster": "slurm"}
ONE_GPU = "#!/bin/bash\n#SBATCH --gres=gpu:a100:1\ntrue\n"


def faults_of_sharing(values, gpus=(), script=ONE_GPU):
    options = checked_options(FlowOptions, {"exp_name": "e", **values})
    slurm = SimpleNamespace(script="site.slurm", script_text=script, scene_options={})
    faults = gpu_checks.sharing_faults(options, gpus, slurm if options.on_slurm else None)
    return [str(fault) for fault in faults]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"scenes_per_gpu": 4},
        {**ON_SLURM, "slurm_scenes_per_gpu": 4},
        {**ON_SLURM, "slurm_scenes_per_gpu": 4, "slurm_scenes_per_job": 6},
        {**ON_SLURM, "slurm_scenes_per_gpu": 4, "slurm_array_parallelism": 4},
    ],
)
def test_scenes_may_share_gpus(values):
    assert faults_of_sharing(values, gpus=("0",)) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scenes_per_gpu": 4}, ["no GPU here", "--workers 4"]),
        ({"slurm_scenes_per_gpu": 4}, ["is for Slurm jobs", "with --scenes-per-gpu"]),
        ({**ON_SLURM, "scenes_per_gpu": 4}, ["this machine", "with --slurm.scenes-per-gpu"]),
        (
            {**ON_SLURM, "slurm_scenes_per_gpu": 4, "slurm_scenes_per_job": 3},
            ["--slurm.scenes-per-job 3", "give at least 4 there"],
        ),
        (
            {**ON_SLURM, "slurm_scenes_per_gpu": 4, "slurm_array_parallelism": 3},
            ["--slurm.array-parallelism 3", "give at least 4 there"],
        ),
        (
            {**ON_SLURM, "slurm_scenes_per_gpu": 4, "orphan_grace": "scene"},
            ["--orphan-grace scene", "leave one of the two out"],
        ),
    ],
)
def test_what_can_not_share_gpus_is_refused_with_the_flag_to_change(values, words):
    (fault,) = faults_of_sharing(values)
    assert all(word in fault for word in words), fault


@pytest.mark.parametrize(("line", "count"), [("--mem=9G", "0 GPUs"), ("--gres=gpu:2", "2 GPUs")])
def test_scenes_share_the_one_gpu_of_a_job(line, count):
    values = {**ON_SLURM, "slurm_scenes_per_gpu": 4}
    (fault,) = faults_of_sharing(values, script=f"#!/bin/bash\n#SBATCH {line}\ntrue\n")
    assert f"a job asks for {count}, not one" in fault
    assert "--slurm.gpus 1" in fault


@pytest.mark.parametrize("flag", ["scenes_per_gpu", "slurm_scenes_per_gpu"])
def test_fewer_than_one_scene_on_a_gpu_is_refused(flag):
    with pytest.raises(FaultsError, match="scenes-per-gpu is not valid"):
        checked_options(FlowOptions, {"exp_name": "e", flag: 0})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"workers": 3}, ["--workers 3: only 2 GPUs, 1 scene each (--scenes-per-gpu)"]),
        ({"workers": 4, "scenes_per_gpu": 2}, []),
        ({"scenes_per_gpu": 6}, ["--scenes-per-gpu 6: only 5 scenes"]),
    ],
)
def test_more_than_there_is_is_said(values, expected):
    options = checked_options(LaunchOptions, {"exp_name": "e", **values})
    assert gpu_checks.sharing_warnings(options, ("0", "1"), 5) == expected
