"""Keep the machine code of `kernels.py` below the state root, so that it is compiled only once.

Or in the folder that numba's own variable NUMBA_CACHE_DIR names. Each version of sources and
libraries and each kind of CPU has a folder of its own there, which is complete or absent: it is
filled under another name. So any number of trainers may start at once, on any nodes: those that
find no folder compile for themselves, and the first one to finish keeps its work.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

SOURCES = ("kernels.py", "constants.py")
PACKAGES = ("numba", "llvmlite", "numpy")
X86_FIELDS = ("vendor_id", "cpu family", "model", "flags")
ARM_FIELDS = ("CPU implementer", "CPU architecture", "CPU part", "Features")


@dataclass(frozen=True)
class Kernels:
    """The compiled functions of `kernels.py`, by their names there."""

    project: Callable[..., None]
    list_bands: Callable[..., Any]
    composite: Callable[..., None]
    composite_backward: Callable[..., None]
    sum_over_bands: Callable[..., None]
    project_backward: Callable[..., None]


def has_compiler() -> bool:
    """Return whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def code_folder(state_root: Path) -> Path:
    """Return the folder of the code that fits this machine; numba must be installed."""
    root = Path(os.environ.get("NUMBA_CACHE_DIR") or state_root / "compiled")
    here = Path(__file__).parent
    sources = [(here / name).read_text(encoding="utf-8") for name in SOURCES]
    versions = [*map(version, PACKAGES), sys.implementation.cache_tag or ""]
    parts = "\0".join([*sources, *versions, platform.machine(), *_cpu()])
    digest = hashlib.sha256(parts.encode()).hexdigest()[:16]
    return root / f"rasterizer-{digest}"


def load_kernels(state_root: Path) -> Kernels:
    """Return the compiled functions; compile and keep them where they are not kept yet.

    Prints a line where they can't be kept.
    """
    folder = code_folder(state_root)
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        if folder.is_dir():
            try:
                return compile_kernels(folder, writable=False)
            except Exception as error:  # noqa: BLE001 - whatever reading a damaged file raises
                print(f"compiled again, since {folder} is damaged: {error!r}", flush=True)
                folder.rename(new.with_suffix(".damaged"))
        kernels = compile_kernels(new, writable=True)
        _put_in_place(new, folder)
    except OSError as error:
        print(f"the compiled rasterizer can't be kept: {error}", flush=True)
        return compile_kernels(None, writable=False)
    finally:
        for left in (new, new.with_suffix(".damaged")):
            shutil.rmtree(left, ignore_errors=True)
    return kernels


def compile_kernels(folder: Path | None, *, writable: bool) -> Kernels:
    """Compile for this machine, or load from a folder; `writable`: keep there what is not there.

    Raises OSError for a folder that can't be written or, unless `writable`, lacks code; and
    anything for a damaged file.
    """
    import numba
    from numba.core import caching

    from training.trainer.gaussians.cpu_rasterizer import kernels

    class Locator(caching._CacheLocator):  # noqa: SLF001
        """Name the folder to numba; its own choices depend on where the sources lie."""

        @classmethod
        def from_function(cls, _function: Any, _file: str) -> Locator:
            return cls()

        def ensure_cache_path(self) -> None:
            if not writable:
                raise OSError(f"it lacks code: {folder}")
            super().ensure_cache_path()

        def get_cache_path(self) -> str:
            return str(folder)

        def get_source_stamp(self) -> str:
            return ""  # the folder's name says which sources

        def get_disambiguator(self) -> str:
            return ""

    class Implementation(caching.CompileResultCacheImpl):
        _locator_classes: Any = [Locator]  # noqa: RUF012 - as in its base

    class Cache(caching.FunctionCache):
        _impl_class = Implementation

    functions = {}
    for name, signature in kernels.SIGNATURES.items():
        function: Any = numba.njit(nogil=True, error_model="numpy")(getattr(kernels, name))
        if folder is not None:
            function._cache = Cache(function.py_func)  # noqa: SLF001
        function.compile(signature)
        function.disable_compile()
        functions[name] = function
    return Kernels(**functions)


def _put_in_place(new: Path, folder: Path) -> None:
    """Give a complete folder its name, unless another process was quicker; raises OSError."""
    try:
        new.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _cpu() -> list[str]:
    """Return what tells kinds of CPU apart; empty where the system does not say."""
    fields = X86_FIELDS + ARM_FIELDS
    try:
        first, *_ = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")
    except OSError:
        return [platform.processor()]
    lines = (line.partition(":") for line in first.splitlines())
    return [f"{key.strip()}:{value}" for key, _, value in lines if key.strip() in fields]
