"""The process of one scene, forked by a starter: become what a fresh interpreter would be.

Uses the standard library alone, like all that `starter.py` runs.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import json
import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, ClassVar

from training.execution.warm_start.shown_command import show_command

Request = dict[str, Any]
"""As `warm_trainer.py` makes it."""
MAIN_NAMES = frozenset({"__main__", "__mp_main__"})
"""What `sys.modules` knows the script's module by; the latter since multiprocessing is imported."""
STANDARD = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))
PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
HERE = str(Path(__file__).parent)


class RecordedEnviron(os._Environ[str]):  # noqa: SLF001 - it has no other name
    """`os.environ` of a script whose imports are learnt: it notes what the script itself sets."""

    changes: ClassVar[list[tuple[int, str, str | None]]] = []
    """Number of modules at that time, name, value (None: deleted)."""

    def __setitem__(self, name: str, value: str) -> None:
        """Set a variable."""
        self._note(name, value)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        """Remove a variable."""
        self._note(name, None)
        super().__delitem__(name)

    def _note(self, name: str, value: str | None) -> None:
        frame = sys._getframe(2)  # noqa: SLF001
        while frame.f_back and frame.f_code.co_filename.startswith("<frozen"):  # as of setdefault()
            frame = frame.f_back
        if is_own(frame.f_code.co_filename):
            self.changes.append((len(sys.modules), name, value))


def prepare(
    request: Request, own_variables: Mapping[str, str], changed: Mapping[str, str | None]
) -> None:
    """Give this process what tells it from the starter, but for its output and its signals.

    `own_variables`: those that the interpreter has set at its start; `changed`: what imports have
    done to variables.
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environ"])
    os.environ.update(own_variables)
    for name, value in changed.items():
        set_variable(name, value)
    with contextlib.suppress(OSError, ValueError):  # it is for people and for monitors
        show_command(request["argv"], request["environ"])
    _draw_new_random_numbers()
    if threading := sys.modules.get("threading"):
        threading.main_thread()._set_native_id()  # noqa: SLF001 - a fork leaves the starter's there


def run_script(request: Request, fresh: Mapping[str, Any], known: frozenset[str]) -> None:
    """Run the script as `__main__`, as a fresh interpreter does; return when it has ended well.

    `fresh`: what a new `__main__` holds; `known`: modules that every starter has.
    """
    _, script, *arguments = request["argv"]
    sys.argv[:] = [script, *arguments]
    sys.orig_argv[:] = request["argv"]
    set_script_folder(script)
    if request["learn"]:
        os.environ.__class__ = RecordedEnviron
        atexit.register(_write_imports, request, known)
    module = main_module(script, fresh)
    for name in {"__main__", *MAIN_NAMES & sys.modules.keys()}:
        sys.modules[name] = module
    problem: BaseException | None = None
    try:
        exec(code_of(script), module.__dict__)  # noqa: S102
    except SystemExit as end:
        if end.code:
            atexit.unregister(_write_imports)
        raise
    except BaseException as error:  # noqa: BLE001
        problem = error
    if problem is not None:  # no longer while it is handled: a hook would see that
        _end_by(problem)


def main_module(script: str, fresh: Mapping[str, Any]) -> ModuleType:
    """Return a module for a script's code, as the interpreter makes it."""
    path = _full_path(script)
    module = ModuleType("__main__")
    loader = type(fresh["__loader__"])("__main__", path)
    own = {"__doc__": None, "__loader__": loader, "__file__": path, "__builtins__": builtins}
    module.__dict__.update({**fresh, **own})
    if "__annotations__" in fresh:
        module.__annotations__ = {}
    return module


def code_of(script: str) -> CodeType:
    """Return a script's code; raises OSError, and SyntaxError without frames of ours."""
    path = _full_path(script)
    return compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)


def set_script_folder(script: str) -> None:
    """Let `sys.path` begin as for this script; at a starter's start it begins with our folder."""
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(script))  # noqa: PTH120


def set_variable(name: str, value: str | None) -> None:
    """Set a variable of the environment, or remove it (None)."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def is_own(file: str) -> bool:
    """Return whether a module's file belongs neither to Python nor to an installed package.

    The files of modules that code has made, such as `_ops.py`, are nobody's.
    """
    is_installed = file.startswith(STANDARD) or any(part in file for part in PACKAGES)
    return file.startswith(os.sep) and not is_installed


def _full_path(script: str) -> str:
    return os.path.join(os.getcwd(), script)  # noqa: PTH109, PTH118 - as the interpreter does


def _draw_new_random_numbers() -> None:
    """Seed global generators anew, as in each fresh interpreter; `random` does so by itself."""
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    if generator := getattr(sys.modules.get("torch"), "default_generator", None):
        generator.seed()


def _end_by(error: BaseException) -> None:
    """Report an exception as the interpreter does, without the frames of ours, and end by it."""
    atexit.unregister(_write_imports)
    traceback = error.__traceback__ = _without_own_frames(error.__traceback__)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        sys.excepthook(type(error), error, traceback)
    except SystemExit:
        raise
    except BaseException as other:  # noqa: BLE001
        print("Error in sys.excepthook:", file=sys.stderr)
        other.__traceback__ = _without_own_frames(other.__traceback__)
        sys.__excepthook__(type(other), other, other.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, traceback)
    if isinstance(error, KeyboardInterrupt):  # of which the interpreter dies, once it is finalised
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt
    sys.exit(1)


def _without_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    while traceback and traceback.tb_frame.f_code.co_filename.startswith(HERE):
        traceback = traceback.tb_next
    return traceback


def _write_imports(request: Request, known: frozenset[str]) -> None:
    """Write down what the script has imported; nothing where the disk refuses."""
    file: str = request["learn"]
    temporary = Path(f"{file}.{os.getpid()}")
    content = {**_imports(request, known), "arguments": request["arguments"]}
    with contextlib.suppress(OSError):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _imports(request: Request, known: frozenset[str]) -> dict[str, Any]:
    """Return what was imported from installed packages and what was set before that, in order.

    Secrets are left out, since it becomes a file.
    """
    steps: list[list[str | None]] = []
    own: list[str] = []
    is_secret = re.compile(request["secret"], re.IGNORECASE).search
    changes = [change for change in RecordedEnviron.changes if not is_secret(change[1])]
    for number, (name, module) in enumerate(list(sys.modules.items())):
        file = getattr(module, "__file__", None) or ""
        if name in known or name in MAIN_NAMES:
            continue
        if is_own(file):
            own.append(name)
        elif getattr(module, "__spec__", None):
            steps += [["set", *change] for at, *change in changes if at <= number]
            changes = [change for change in changes if change[0] > number]
            steps.append(["import", name, file])
    return {**_same_for_all(steps, request["scene"]), "own": own}


def _same_for_all(steps: list[list[str | None]], scene: str) -> dict[str, Any]:
    """Return the steps up to a variable whose value has the scene's name in it, and that variable.

    What follows it may have read it, and each scene has its own.
    """
    named = re.compile(rf"(?<![a-zA-Z0-9]){re.escape(scene)}(?![a-zA-Z0-9])")
    for number, (kind, name, value) in enumerate(steps):
        if scene and kind == "set" and named.search(value or ""):
            return {"steps": steps[:number], "left_out": name}
    return {"steps": steps}
