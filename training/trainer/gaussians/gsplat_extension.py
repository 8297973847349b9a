"""gsplat's CUDA code: compiled once for all processes, and loaded.

gsplat's wheel has sources only. Left to itself it compiles them at the first render, in minutes;
processes that start together delete each other's half-built files, and without nvcc it fails at
the first call with an AttributeError. Here one process compiles, in a folder below the state root
that is named after what the code depends on, and the others wait for it. A node that has the
compiled code needs no nvcc.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from preprocess.faults import Fault, FaultsError
from preprocess.roots import resolve_root_folders
from training.system.built_once import built_once
from training.trainer.termination import TrainingError

NAME = "gsplat_cuda"
"""The extension's name, by gsplat."""
MODULE = "gsplat.csrc"
"""Where gsplat looks for it before it compiles it."""
ARCHITECTURES = "TORCH_CUDA_ARCH_LIST"
"""Variable with the kinds of GPUs to compile for, e.g. `8.0;9.0`; else that of this machine's."""
BUILD_ROOT = "TORCH_EXTENSIONS_DIR"
"""Variable with the folder that PyTorch compiles in; a user may set it to share what is built."""

COMPILE_TIMEOUT_S = 3600


def load_extension() -> None:
    """Have gsplat's CUDA code in this process, compiled now if it never was.

    Raises FaultsError where it can't be compiled, TrainingError where the compiler fails.
    """
    if not is_loaded():
        sys.modules[MODULE] = _module_of(compiled_folder())


def is_loaded() -> bool:
    """Return whether gsplat has its CUDA code: loaded here, or from a wheel that brings it."""
    return MODULE in sys.modules or _is_in_wheel()


def _is_in_wheel() -> bool:
    found = importlib.util.find_spec("gsplat")  # of the module itself: that imports PyTorch
    folders = (found.submodule_search_locations if found else None) or ()
    return any(next(Path(folder).glob("csrc*.so"), None) for folder in folders)


def compiled_folder() -> Path:
    """Return the folder with the compiled code, made now if it never was; raises as above."""
    return built_once(build_folder(), compile_into, lambda text: print(text, flush=True))


def is_compiled() -> bool:
    """Return whether there is compiled code of this gsplat for any GPU; imports no PyTorch."""
    return _is_in_wheel() or any(_root().glob(f"gsplat-{version('gsplat')}_*/{NAME}/{NAME}.so"))


def prepare_gpu(configured: str) -> None:
    """Compile before the scenes what they need on a GPU; `configured` is the key `device`.

    Where no GPU is visible and its kind is not known, only checks what compiling needs. Raises
    FaultsError, TrainingError.
    """
    if configured == "cpu" or is_loaded():
        return
    if configured == "auto" and torch_cuda() is None:
        print("PyTorch is a build without CUDA: scenes are trained on the CPU", flush=True)
    elif os.environ.get(ARCHITECTURES) or _sees_gpu():
        compiled_folder()
    elif not is_compiled() and (missing := missing_compilers()):
        raise FaultsError(missing)


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def build_folder() -> Path:
    """Return the folder of what is compiled for this PyTorch, gsplat, Python and kind of GPU.

    Raises FaultsError where the kind of GPU is not known.
    """
    import torch

    parts = {
        "gsplat": version("gsplat"),
        "torch": f"{torch.__version__}-cuda{torch.version.cuda}",
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "gpu": architectures().replace(";", "+").replace(" ", "+"),
    }
    return _root() / "_".join(f"{name}-{value}" for name, value in parts.items())


def _root() -> Path:
    given = os.environ.get(BUILD_ROOT)
    return Path(given) if given else resolve_root_folders({})["state_root"] / "compiled"


def architectures() -> str:
    """Return the kinds of GPUs to compile for, as TORCH_CUDA_ARCH_LIST has them."""
    import torch

    if given := os.environ.get(ARCHITECTURES):
        return given
    if not torch.cuda.is_available():
        what = "gsplat can't be compiled: no GPU is visible here"
        raise FaultsError([Fault(what, remedy=f"set {ARCHITECTURES}, e.g. to 8.0 for an A100")])
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"


def compile_into(folder: Path) -> None:
    """Have gsplat compile itself into an empty folder; raises FaultsError, TrainingError.

    In a process of its own: gsplat also loads what it has compiled, which no process can do twice.
    """
    if missing := missing_compilers():
        raise FaultsError(missing)
    print("compiling gsplat's CUDA code once for all scenes: this takes minutes", flush=True)
    # gsplat's own default is 10 compilers, each with gigabytes: more than a small job has.
    cores = os.environ.get("SLURM_CPUS_PER_TASK") or str(len(os.sched_getaffinity(0)))
    settings = {BUILD_ROOT: str(folder), ARCHITECTURES: architectures()}
    try:
        result = subprocess.run(
            [sys.executable, "-c", "import gsplat.cuda._backend"],
            env={"MAX_JOBS": cores, **os.environ, **settings},
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        what = f"gsplat's CUDA code was not compiled within {COMPILE_TIMEOUT_S} s: use more cores"
        raise TrainingError(what) from error
    if result.returncode != 0 or not _library(folder).is_file():
        raise TrainingError("gsplat's CUDA code can't be compiled: what its compiler says is above")


def missing_compilers() -> list[Fault]:
    """Return faults for what compiling gsplat needs and this machine lacks; compiles nothing."""
    faults = []
    if torch_cuda() is None:
        remedy = "install one with CUDA (docs/trainer.md, On a GPU), or set device=cpu"
        faults.append(Fault("PyTorch is a build without CUDA", version("torch"), remedy))
    if find_nvcc() is None:
        remedy = "load the CUDA toolkit (module load cuda), set CUDA_HOME, or set device=cpu"
        faults.append(Fault("gsplat can't be compiled: there is no nvcc", remedy=remedy))
    return faults


def torch_cuda() -> str | None:
    """Return the version of CUDA that PyTorch was built with; None without. Imports no PyTorch."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    values: dict[str, object] = {}
    lines = Path(found.origin).with_name("version.py").read_text(encoding="utf-8").splitlines()
    for line in lines:
        name, _, value = line.partition("=")
        values[name.split(":")[0].strip()] = value.strip().strip("'\"")
    cuda = values.get("cuda")
    return None if cuda in {None, "None"} else str(cuda)


def find_nvcc() -> str | None:
    """Return the CUDA compiler, where PyTorch looks for it."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    inside = [str(Path(home, "bin", "nvcc")) for home in (*homes, "/usr/local/cuda") if home]
    return next(filter(None, map(shutil.which, ("nvcc", *inside))), None)


def _library(folder: Path) -> Path:
    return folder / NAME / f"{NAME}.so"


def _module_of(folder: Path) -> ModuleType:
    """Import the compiled library of a folder."""
    found = importlib.util.spec_from_file_location(NAME, _library(folder))
    if found is None or found.loader is None:
        raise RuntimeError(f"{_library(folder)} is no extension of Python")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
