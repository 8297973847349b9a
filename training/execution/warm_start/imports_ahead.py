"""What a starter imports before the first scene, and whether that serves the next one.

Uses the standard library alone, like all that `starter.py` runs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from training.execution.warm_start.script_process import (
    PACKAGES,
    Request,
    code_of,
    is_own,
    main_module,
    set_script_folder,
    set_variable,
)

WARM_UP = "__warm_up__"
"""`__name__` of a script that is run ahead to import things; only of one that mentions it."""
SCENE_VARIABLES = ("TS_", "CUDA_VISIBLE_DEVICES")
"""Beginnings of the variables that may differ from scene to scene, unless an import reads them."""
GPU_FILES = ("/dev/nvidia", "/dev/kfd")
"""Beginnings of the device files that a process has open once it has used a GPU."""
THREADS_END_WITHIN_S = 0.2


class UnwarmableError(Exception):
    """Why a script can't be started by a fork; `module` is to blame, if that is known."""

    def __init__(self, reason: str, module: str = "") -> None:
        self.reason, self.module = reason, module
        super().__init__(reason)


class WatchedEnviron(os._Environ[str]):  # noqa: SLF001 - it has no other name
    """`os.environ` while modules are imported: it notes which scene's variables they ask for.

    Libraries that copy the whole environment ask for none.
    """

    asked: ClassVar[set[str]] = set()
    copied: ClassVar[list[str]] = []

    def __getitem__(self, name: str) -> str:
        """Return a variable's value, and note its name."""
        if name in self.copied:
            self.copied.remove(name)
        elif name.startswith(SCENE_VARIABLES):
            self.asked.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        """Yield all names: whoever goes through them reads each value once."""
        for name in super().__iter__():
            self.copied.append(name)
            yield name


class ImportsAhead:
    """What this process has imported ahead, and what that has changed."""

    def __init__(self) -> None:
        self.request: Request | None = None
        """The one that it was imported for."""
        self.output = _temporary_file()
        self.own_variables = _set_by_the_interpreter()
        self.changed: dict[str, str | None] = {}
        """Variables that imports have set, or deleted (None)."""
        self._files: dict[str, tuple[int, int] | None] = {}
        self._has_made_folder = False

    def why_not(self, request: Request) -> str:
        """Return why what was imported does not serve a request; empty if it does."""
        if self.request is None:
            return ""
        if request["argv"][:2] != self.request["argv"][:2]:
            return "it is for another script"
        if self.request["learn"] and request["steps"]:
            return "its imports have been learnt"
        changed = [path for path, state in self._files.items() if _state(path) != state]
        changed += self._changed_variables(request["environ"])
        return f"{changed[0]} has changed" if changed else ""

    def _changed_variables(self, environ: Mapping[str, str]) -> Iterator[str]:
        before = self.request["environ"] if self.request else {}
        for name in sorted(before.keys() | environ.keys()):
            is_scenes = name.startswith(SCENE_VARIABLES) and name not in WatchedEnviron.asked
            if before.get(name) != environ.get(name) and not is_scenes:
                yield name

    def take(self, request: Request, fresh: Mapping[str, Any]) -> None:
        """Import what the script of a request imports; raises UnwarmableError."""
        os.dup2(self.output, 1)  # sys.stdout and sys.stderr stay, made for the scenes' logs
        os.dup2(self.output, 2)
        script, steps = request["argv"][1], request["steps"]
        sys.argv[:] = request["argv"][1:]
        set_script_folder(script)
        sys.modules["__main__"] = main_module(script, fresh)
        before, plain = dict(os.environ), type(os.environ)
        os.environ.__class__ = WatchedEnviron
        try:
            with self._temporary_folders_noted():
                if request["has_warm_up"]:
                    self._run_warm_up(script, fresh)
                else:
                    self._import(steps)
        finally:
            os.environ.__class__ = plain
        by_script = {name for kind, name, *_ in steps if kind == "set"}
        names = {*before, *os.environ} - by_script
        now = {name: os.environ.get(name) for name in names}
        self.changed = {name: now[name] for name in names if now[name] != before.get(name)}
        _check_names(request["own"])
        self._files = {path: _state(path) for path in _imported_from()}
        self.request = request
        gc.collect()
        gc.freeze()

    @contextlib.contextmanager
    def _temporary_folders_noted(self) -> Iterator[None]:
        """Note that an import makes one: the scene that ends first would remove it for all."""
        make = tempfile.mkdtemp

        def noted(*arguments: Any, **more: Any) -> Any:
            self._has_made_folder = True
            return make(*arguments, **more)

        tempfile.mkdtemp = noted
        try:
            yield
        finally:
            tempfile.mkdtemp = make

    def _run_warm_up(self, script: str, fresh: Mapping[str, Any]) -> None:
        path = sys.path.copy()
        module = main_module(script, {**fresh, "__name__": WARM_UP})
        exec(code_of(script), module.__dict__)  # noqa: S102
        sys.path[:] = path
        self._check(script)

    def _import(self, steps: list[list[str]]) -> None:
        for kind, name, value in steps:
            if kind == "set":
                set_variable(name, value)
                continue
            try:
                module = importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - the script's own import says it, if any does
                continue
            if (getattr(module, "__file__", None) or "") != value:
                raise UnwarmableError("is another one than the script imports", name)
            self._check(name)

    def _check(self, module: str) -> None:
        """Raise UnwarmableError if what was imported last can't be had before a fork."""
        WatchedEnviron.copied.clear()
        sys.stdout.flush()
        if os.fstat(self.output).st_size:
            raise UnwarmableError("prints when it is imported", module)
        if _threads() > 1 and not _is_alone_after_a_fork():
            raise UnwarmableError("starts threads when it is imported", module)
        if _has_used_gpu():
            raise UnwarmableError("uses the GPU when it is imported", module)
        if self._has_made_folder:
            raise UnwarmableError("makes a temporary folder when it is imported", module)
        if _has_children():
            raise UnwarmableError("starts processes when it is imported", module)


def check_script(script: str) -> None:
    """Raise UnwarmableError for anything but source code that can be read: Python runs more."""
    if not (script.endswith(".py") and Path(script).is_file() and os.access(script, os.R_OK)):
        raise UnwarmableError(f"{script} is not a readable .py file")
    if not sys.flags.safe_path and (file := _file_that_hides_a_module(script)):
        raise UnwarmableError(f"{file} has the name of one of Python's own modules")


def _file_that_hides_a_module(script: str) -> str:
    """Return a file beside a script which it would import instead of a module that is here already.

    Empty where there is none.
    """
    folder = os.path.dirname(os.path.realpath(script))  # noqa: PTH120
    here = sys.stdlib_module_names & sys.modules.keys() - set(sys.builtin_module_names)
    for entry in Path(folder).iterdir():
        name = entry.name.removesuffix(".py")
        file = str(entry if entry.suffix == ".py" else entry / "__init__.py")
        is_another = name in here and getattr(sys.modules[name], "__file__", None) != file
        if is_another and Path(file).is_file():
            return file
    return ""


def _check_names(own: list[str]) -> None:
    """Raise UnwarmableError if a library has brought a module that the script has by its name."""
    for name in own:
        if name in sys.modules:
            raise UnwarmableError("has the name of a module of the script's own", name)


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _is_alone_after_a_fork() -> bool:
    """Return whether all other threads end before a fork, as those of OpenBLAS do."""
    probe = os.fork()
    if not probe:
        os._exit(0)
    os.waitpid(probe, 0)
    deadline = time.monotonic() + THREADS_END_WITHIN_S
    while _threads() > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    return _threads() == 1


def _has_used_gpu() -> bool:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return True
    opened = map(_target, Path("/proc/self/fd").iterdir())
    return any(file.startswith(GPU_FILES) for file in opened)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _imported_from() -> Iterator[str]:
    """Yield the folders of packages, which change when one is installed, and other sources."""
    yield from (path for path in sys.path if f"{path}{os.sep}".endswith(PACKAGES))
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and is_own(file):
            yield file


def _state(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _temporary_file() -> int:
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())


def _set_by_the_interpreter() -> dict[str, str]:
    """Return the variables that Python has set at its start, such as LC_CTYPE."""
    block = Path("/proc/self/environ").read_bytes()
    given = {os.fsdecode(item.partition(b"=")[0]) for item in block.split(b"\0")}
    return {name: value for name, value in os.environ.items() if name not in given}
