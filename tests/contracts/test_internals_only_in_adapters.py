"""Internals of Prefect are used in its adapter only, so that an upgrade breaks one file.

That Dask is used in adapters only is a contract of import-linter (pyproject.toml).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTED = {
    "prefect",
    "prefect.cache_policies",
    "prefect.futures",
    "prefect.logging",
    "prefect.settings",
    "prefect.states",
    "prefect.task_runners",
    "prefect.tasks",
}
"""Modules of Prefect that its guides import from."""


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_only_the_adapter_imports_undocumented_modules_of_prefect():
    """Types and functions that guides don't mention move between releases."""
    adapters = CHECKOUT / "flows" / "adapters"
    files = [*CHECKOUT.glob("flows/**/*.py"), *CHECKOUT.glob("deployments/**/*.py")]
    assert len(files) > 30
    found = {
        f"{path.relative_to(CHECKOUT)}: {name}"
        for path in files
        if adapters not in path.parents
        for name in imports(path)
        if name.startswith("prefect.") and name not in DOCUMENTED
    }
    assert found == set()
