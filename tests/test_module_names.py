"""Modules of ours that are named by text, in commands and tables, exist and can be run.

Neither an import nor import-linter sees such a name: after a move it would fail only when it is
run, some of them on a compute node.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("training", "flows", "deployments", "preprocess")
TEXTS = ("Makefile", "*.md", "docs/**/*.md", "**/*.slurm", "deployments/*.yaml")
DOTTED = rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+"
MODULE = re.compile(rf"{DOTTED}(?<!\.pt)")  # not training.pt, a file
ENTRY_POINT = re.compile(rf"({DOTTED}):(\w+)")
COMMAND = re.compile(rf"-m ({DOTTED})")
GUARD = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)


def sources() -> Iterator[Path]:
    for package in (*PACKAGES, "benchmarks"):
        yield from (CHECKOUT / package).rglob("*.py")


@cache
def constants() -> list[tuple[Path, str]]:
    """All string constants of the sources, docstrings included, each with its file."""
    return [
        (path, node.value)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def modules() -> dict[str, str]:
    """Modules that a text names as something to run, each with a file that does."""
    found = {}
    for path, text in constants():
        names = (
            [text] if MODULE.fullmatch(text) and not is_function(text) else COMMAND.findall(text)
        )
        found.update(dict.fromkeys(names, str(path.relative_to(CHECKOUT))))
    for path in (path for pattern in TEXTS for path in CHECKOUT.glob(pattern)):
        if not any(part.startswith(".") for part in path.relative_to(CHECKOUT).parts):
            names = COMMAND.findall(path.read_text(encoding="utf-8"))
            found.update(dict.fromkeys(names, str(path.relative_to(CHECKOUT))))
    return found


def is_function(name: str) -> bool:
    """Whether a dotted name, as of a step in `prefect.yaml`, goes on behind that of a module."""
    return (CHECKOUT / name.rpartition(".")[0].replace(".", "/")).with_suffix(".py").is_file()


def entry_points() -> set[tuple[str, str]]:
    texts = {text for _, text in constants()}
    functions = {text for text in texts if MODULE.fullmatch(text) and is_function(text)}
    found = {match.groups() for text in texts if (match := ENTRY_POINT.fullmatch(text))}
    return found | {(module, name) for module, _, name in (f.rpartition(".") for f in functions)}


def source_of(module: str) -> str:
    """The source of a module, or of a package's `__main__`; empty where there is none."""
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = find_spec(f"{module}.__main__")
    known = spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8") if known else ""


def defined_in(module: str) -> set[str]:
    """The names of functions, classes and variables of a module."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return set()
    nodes = ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return {
        node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else node.id
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    }


def test_each_module_that_is_named_by_text_can_be_run():
    """It is there, and does something when it is run with `python -m`.

    Found is one of each kind: a constant, a table's entry, an argument, a package, a line of make.
    """
    found = modules()
    assert set(found) > {
        "training.execution.supervisor",
        "flows.slurm.dask_worker",
        "deployments.process_worker",
        "preprocess.synthetic",
        "flows.flags_page",
    }
    assert {name: file for name, file in found.items() if not GUARD.search(source_of(name))} == {}


def test_each_entry_point_that_is_named_by_text_exists():
    """`flows.flow:train_scenes`: the module has such a function, class or variable."""
    found = entry_points()
    assert ("flows.flow", "train_scenes") in found
    assert {each for each in found if each[1] not in defined_in(each[0])} == set()
