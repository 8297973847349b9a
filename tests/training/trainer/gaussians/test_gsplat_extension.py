"""gsplat is compiled once for all processes, with words where it can't be; no GPU is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from preprocess.faults import FaultsError
from training.trainer.gaussians import gsplat_extension
from training.trainer.termination import TrainingError

ARCHITECTURES = "TORCH_CUDA_ARCH_LIST"
GSPLAT = """
import os, pathlib, subprocess, time

print(*(f"{name}={os.environ.get(name)}" for name in ("MAX_JOBS", "TORCH_CUDA_ARCH_LIST")))
with open(os.environ["BUILDS"], "a") as file:
    print("compiled", file=file)
time.sleep(0.5)
folder = pathlib.Path(os.environ["TORCH_EXTENSIONS_DIR"], "gsplat_cuda")
folder.mkdir()
source = folder / "gsplat_cuda.c"
source.write_text('''
#include <Python.h>
static struct PyModuleDef made = {PyModuleDef_HEAD_INIT, "gsplat_cuda", "made up", -1, 0};
PyMODINIT_FUNC PyInit_gsplat_cuda(void) { return PyModule_Create(&made); }
''')
library = folder / "gsplat_cuda.so"
compiler = ["cc", "-shared", "-fPIC", "-I", os.environ["INCLUDE"]]
subprocess.run([*compiler, str(source), "-o", str(library)], check=True)
"""
LOAD = """
from training.trainer.gaussians import gsplat_extension
gsplat_extension.missing_compilers = list  # this PyTorch may be a build without CUDA
gsplat_extension.load_extension()
from gsplat import csrc
print("loaded:", csrc.__doc__)
"""


@pytest.fixture
def made_up(tmp_path):
    """The environment of processes whose gsplat compiles a module of its own, and notes it."""
    include = sysconfig.get_path("include")
    if shutil.which("cc") is None or not Path(include, "Python.h").is_file():
        pytest.skip("compiling a module takes cc and Python.h")
    package = tmp_path / "packages" / "gsplat" / "cuda"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "_backend.py").write_text(GSPLAT)
    return {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "packages"),
        "TS_STATE_ROOT": str(tmp_path / "state"),
        "BUILDS": str(tmp_path / "builds.txt"),
        "INCLUDE": include,
        ARCHITECTURES: "8.0;9.0",
        "SLURM_CPUS_PER_TASK": "3",
    }


@pytest.mark.processes
def test_scenes_that_start_at_once_compile_gsplat_once(made_up, tmp_path):
    """Both have it loaded; a third, later, compiles nothing either."""
    command = [sys.executable, "-c", LOAD]
    how = {"env": made_up, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **how) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    said.append(subprocess.run(command, timeout=120, check=True, **how).stdout)
    assert all("loaded: made up" in each for each in said)
    assert (tmp_path / "builds.txt").read_text() == "compiled\n"
    assert sum("compiling gsplat's CUDA code once" in each for each in said) == 1
    assert "MAX_JOBS=3 TORCH_CUDA_ARCH_LIST=8.0;9.0\n" in "".join(said)
    (folder,) = (tmp_path / "state" / "compiled").glob("gsplat-*/")
    assert folder.name.endswith("_gpu-8.0+9.0")


def test_a_compiler_that_never_ends_is_given_up(monkeypatch, tmp_path):
    """With a sentence, not a traceback of the library that waits."""

    def never_ends(*_, timeout, **__):
        raise subprocess.TimeoutExpired("compile", timeout)

    monkeypatch.setenv(ARCHITECTURES, "8.0")
    monkeypatch.setattr(gsplat_extension, "missing_compilers", list)
    monkeypatch.setattr(gsplat_extension.subprocess, "run", never_ends)
    with pytest.raises(TrainingError, match="not compiled within 3600 s"):
        gsplat_extension.compile_into(tmp_path)


def test_another_kind_of_gpu_has_code_of_its_own(monkeypatch, tmp_path):
    """And so has another PyTorch, by the folder's name; a user's own folder is used."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv(ARCHITECTURES, "8.0")
    first = gsplat_extension.build_folder()
    monkeypatch.setenv(ARCHITECTURES, "9.0")
    second = gsplat_extension.build_folder()
    monkeypatch.setattr("torch.__version__", "2.99.0+cu129")
    third = gsplat_extension.build_folder()
    assert len({first, second, third}) == 3
    assert {first.parent, second.parent, third.parent} == {tmp_path}


def test_nvcc_is_found_where_pytorch_looks(monkeypatch, tmp_path):
    """On PATH, or in CUDA_HOME; without it the fault says what to load."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gsplat_extension, "torch_cuda", lambda: "12.8")
    if gsplat_extension.find_nvcc() is None:  # this machine has none in /usr/local/cuda
        (fault,) = gsplat_extension.missing_compilers()
        assert "no nvcc" in str(fault)
        assert "module load cuda" in str(fault)
    nvcc = tmp_path / "home" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert gsplat_extension.find_nvcc() is not None
    assert gsplat_extension.missing_compilers() == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cuda: Optional[str] = '12.8'", "12.8"),
        ("cuda = '13.0'", "13.0"),
        ("cuda: Optional[str] = None", None),
        ("debug = False", None),
    ],
)
def test_a_pytorch_without_cuda_is_recognised_without_importing_it(
    monkeypatch, tmp_path, line, expected
):
    """By its version.py: this one's, and made-up ones."""
    import torch

    assert gsplat_extension.torch_cuda() == torch.version.cuda
    (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\n{line}\n")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: spec)
    assert gsplat_extension.torch_cuda() == expected


def test_without_a_gpu_and_its_kind_nothing_is_compiled(monkeypatch, tmp_path):
    """--prepare-gpu in a job without a GPU: only what is missing is said."""
    monkeypatch.delenv(ARCHITECTURES, raising=False)
    monkeypatch.setenv("TS_STATE_ROOT", str(tmp_path))
    monkeypatch.setattr(gsplat_extension, "_sees_gpu", lambda: False)
    monkeypatch.setattr(gsplat_extension, "torch_cuda", lambda: "12.8")
    monkeypatch.setattr(gsplat_extension, "find_nvcc", lambda: None)
    gsplat_extension.prepare_gpu("cpu")
    with pytest.raises(FaultsError, match="no nvcc"):
        gsplat_extension.prepare_gpu("auto")
    monkeypatch.setattr(gsplat_extension, "find_nvcc", lambda: "/usr/bin/nvcc")
    gsplat_extension.prepare_gpu("cuda")
    assert list(tmp_path.iterdir()) == []


def test_a_cpu_build_of_pytorch_trains_on_the_cpu_or_is_refused(monkeypatch, tmp_path, capsys):
    """device=auto says so; device=cuda is a fault with the remedy, and compiles nothing."""
    monkeypatch.setattr(gsplat_extension, "torch_cuda", lambda: None)
    gsplat_extension.prepare_gpu("auto")
    assert "trained on the CPU" in capsys.readouterr().out
    monkeypatch.setenv(ARCHITECTURES, "9.0")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "code"))
    with pytest.raises(FaultsError, match="without CUDA"):
        gsplat_extension.prepare_gpu("cuda")
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiler_that_fails_is_no_traceback_in_the_middle_of_training(made_up, tmp_path):
    """The trainer says so and ends with exit status 1."""
    (tmp_path / "packages" / "gsplat" / "cuda" / "_backend.py").write_text("raise SystemExit(7)")
    load = LOAD.replace("gsplat_extension.load", "gsplat_extension.prepare_gpu('cuda') #")
    load = f"try:\n  {load.strip().replace(chr(10), chr(10) + '  ')}\nexcept Exception as error:\n"
    command = [sys.executable, "-c", f"{load}  print(type(error).__name__, error)"]
    how = {"env": made_up, "stdout": subprocess.PIPE, "text": True}
    said = subprocess.run(command, timeout=120, check=True, **how).stdout
    assert "TrainingError gsplat's CUDA code can't be compiled" in said
    assert not list((tmp_path / "state" / "compiled").glob("gsplat-*/gsplat_cuda"))
