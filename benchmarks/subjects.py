"""The subjects of `python -m benchmarks` in the page's order, and the commands that stand alone."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

from benchmarks.subject import Subject

MODULES = (
    "slurm.makespan",
    "flow_overhead",
    "dry_run",
    "many_scenes",
    "trainer_start",
    "warm_start",
    "rasterizer",
    "difix_generation",
    "difix_aggregate",
)
"""Modules of this folder, each with its `SUBJECTS`; light to import."""
COMMANDS = ("ablations", "gpu", "real_size", "refiner_scenes")


def subjects() -> dict[str, Subject]:
    """Return all subjects by name."""
    modules = [import_module(f"benchmarks.{name}") for name in MODULES]
    return {subject.name: subject for module in modules for subject in module.SUBJECTS}


def commands() -> dict[str, str]:
    """Return the commands of their own, each with its first sentence."""
    folder = Path(__file__).parent
    return {f"python benchmarks/{name}.py": _first_line(folder / f"{name}.py") for name in COMMANDS}


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
