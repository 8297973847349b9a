"""Keep PyTorch's compiler from being imported where nothing is compiled: it is half of a start.

roma and PyTorch's optimizers import `torch._dynamo` (a thousand modules, sympy among them) only to
exempt functions from compilation. After `defer_compiler` its code runs at the first use of anything
else in it, as by `torch.compile`, and the exemptions are made then. `tests/contracts/test_torch.py`
holds what must stay true of PyTorch for this module to work.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
STATE = "_deferred_by"


def defer_compiler() -> None:
    """Have the compiler imported at its first use from now on; imports no torch itself."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the compiler where Python would, with a loader that waits."""
        spec = PathFinder.find_spec(name, path, target) if name == COMPILER else None
        if spec and spec.loader:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


class _DeferringLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        """The one that runs the code."""
        self.lock = threading.RLock()
        self.exemptions: list[Callable[[], None]] = []

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing yet; without its path, no submodule can be imported before it."""
        del module.__path__
        module.__dict__[STATE] = self
        module.__class__ = _DeferredCompiler

    def run(self, module: ModuleType) -> None:
        """Run the module's code, once: while it runs, the module is like any other."""
        spec = module.__spec__
        if spec is None or spec.loader is self.loader:
            return
        spec.loader = module.__loader__ = self.loader
        module.__path__ = spec.submodule_search_locations or []
        self.loader.exec_module(module)
        module.__class__ = ModuleType
        for exempt in self.exemptions:
            exempt()


class _DeferredCompiler(ModuleType):
    """The module, which has what eager code uses of it before its own code has run."""

    def __getattr__(self, name: str) -> Any:
        """Run the module's code, unless asked only what kind of module it is."""
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        loader = self.__dict__[STATE]
        with loader.lock:
            loader.run(self)
        if name not in self.__dict__:
            raise AttributeError(f"module {COMPILER!r} has no attribute {name!r}")
        return self.__dict__[name]

    def disable(
        self, function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any
    ) -> Any:
        """Return the function, exempt from compilation as soon as there is any."""
        if function is None:
            return functools.partial(self.disable, recursive=recursive, **options)
        called = function

        def exempt() -> None:
            nonlocal called
            called = self.disable(function, recursive, **options)

        def call(*given: Any, **named: Any) -> Any:
            return called(*given, **named)

        self.__dict__[STATE].exemptions.append(exempt)
        return functools.update_wrapper(call, function)

    def graph_break(self, _reason: str = "") -> None:
        """Do nothing: there is no graph."""
