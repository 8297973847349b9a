"""What training on a GPU would lack is said when the plan is made."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

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
