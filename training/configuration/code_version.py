"""The version of the trainer's code: recorded and reported, no part of the fingerprint.

A digest over the syntax trees of the sources that a run really uses: the script's import closure
inside the checkout. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from preprocess.roots import CHECKOUT
from training.records.record import CodeVersion

PACKAGES = ("training", "preprocess")
GIT_TIMEOUT_S = 5.0


def own_code_digest(script: Path, unused_functions: Collection[str] = ()) -> str:
    """Return the digest of a script of this checkout and of all that it imports from here.

    Imports inside functions count too, but not those of the script's `unused_functions`, which
    belong to other run modes. Raises OSError when a source can't be read.
    """
    shapes: dict[Path, object] = {}
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path in shapes:
            continue
        tree = _parse(path)
        if path == script and isinstance(tree, ast.Module):
            tree.body = [node for node in tree.body if not _is_function(node, unused_functions)]
        shapes[path] = _shape(tree)
        waiting += _imported_files(tree)
    return _digest({path.relative_to(CHECKOUT).as_posix(): shapes[path] for path in shapes})


def script_digest(script: Path) -> str:
    """Return the digest of one script alone; raises OSError when it can't be read."""
    return _digest({script.name: _shape(_parse(script))})


def with_commit(digest: str, folder: Path) -> CodeVersion:
    """Return the version with the Git commit of the checkout around `folder`, where Git says it."""
    answer = _git_status(folder)
    commit = next((line.split()[-1] for line in answer if line.startswith("# branch.oid")), "")
    if not commit:
        return CodeVersion(digest=digest)
    is_clean = all(line.startswith("#") for line in answer)
    return CodeVersion(digest=digest, commit=commit, is_clean=is_clean)


def _git_status(folder: Path) -> list[str]:
    """Return the lines of one `git status`; none without Git, outside a checkout, or in time."""
    status = ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *status],  # noqa: S607 - from PATH
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.splitlines()


def _parse(path: Path) -> ast.Module | bytes:
    """Return a source's syntax tree, or its bytes where this interpreter can't parse it."""
    content = path.read_bytes()
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return content


def _is_function(node: ast.stmt, names: Collection[str]) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name in names


def _shape(node: Any) -> Any:
    """Return what of a syntax tree has an effect, as nested lists.

    Like `ast.dump`, but without empty fields, in which Python versions differ, and without
    docstrings.
    """
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields)
        kept = [(name, _shape(value)) for name, value in fields if value not in (None, [])]
        return [type(node).__name__, *kept]
    if isinstance(node, list):
        return [_shape(each) for each in node if not _is_docstring(each)]
    return node


def _is_docstring(node: Any) -> bool:
    """Return whether it is a string that stands alone, be it of a function or of an attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported_files(tree: ast.Module | bytes) -> Iterator[Path]:
    """Yield the checkout's files that a source imports, the packages around them included."""
    nodes = ast.walk(tree) if isinstance(tree, ast.Module) else ()
    for name in {name for node in nodes for name in _imported_names(node)}:
        parts = name.split(".")
        if parts[0] in PACKAGES:
            for count in range(1, len(parts) + 1):
                yield from _files_of(CHECKOUT.joinpath(*parts[:count]))


def _imported_names(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports; what is no module has no file."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _files_of(module: Path) -> list[Path]:
    candidates = (module.with_suffix(".py"), module / "__init__.py")
    return [path for path in candidates if path.is_file()]


def _digest(shapes: dict[str, Any]) -> str:
    text = repr(sorted(shapes.items()))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
