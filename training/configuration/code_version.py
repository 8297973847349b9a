"""The version of the trainer's code: recorded and reported, no part of the fingerprint.

A digest over the syntax trees of the sources that a run really uses: the script's import closure
inside the checkout. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.roots import CHECKOUT
from training.records.record import CodeVersion
from training.system.git import git_output

PACKAGES = ("training", "preprocess")
GIT_TIMEOUT_S = 5.0


def own_code_digest(script: Path, unused_functions: Collection[str] = ()) -> str:
    """Return the digest of a script of this checkout and of all that it imports from here.

    Imports inside functions count too, but not those of the script's `unused_functions`, which
    belong to other run modes. Raises OSError when a source can't be read.
    """
    sources = {script: _read_source(script, unused_functions)}
    looked_up: set[str] = set()
    waiting = [sources[script]]
    while waiting:
        modules = {part for name in waiting.pop().imports for part in _with_packages(name)}
        for path in _files_of(modules - looked_up):
            sources[path] = _read_source(path)
            waiting.append(sources[path])
        looked_up |= modules
    texts = {path.relative_to(CHECKOUT).as_posix(): each.text for path, each in sources.items()}
    return _digest(texts)


def checkout_content(packages: Sequence[str] = PACKAGES) -> str:
    """Return a hash of the bytes of all sources of packages: those that an own digest may cover.

    It takes a fraction of the digest's time, and says at least that nothing has changed. Raises
    OSError when a source can't be read.
    """
    content = hashlib.sha256()
    folders = (each for package in packages for each in os.walk(CHECKOUT / package))
    for folder, _, files in sorted(folders):
        for path in (Path(folder, name) for name in sorted(files) if name.endswith(".py")):
            source = path.read_bytes()
            content.update(f"{path.relative_to(CHECKOUT)} {len(source)} ".encode() + source)
    return content.hexdigest()[:32]


def script_digest(script: Path) -> str:
    """Return the digest of one script alone; raises OSError when it can't be read."""
    return _digest({script.name: _read_source(script).text})


def with_commit(version: CodeVersion, folder: Path) -> CodeVersion:
    """Return a version with the Git commit of the checkout around `folder`, where Git says it."""
    answer = _git_status(folder)
    commit = next((line.split()[-1] for line in answer if line.startswith("# branch.oid")), "")
    if not commit:
        return version
    is_clean = all(line.startswith("#") for line in answer)
    return version.model_copy(update={"commit": commit, "is_clean": is_clean})


def _git_status(folder: Path) -> list[str]:
    """Return the lines of one `git status`; none without Git, outside a checkout, or in time."""
    status = ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    answer = git_output(folder, *status, timeout_s=GIT_TIMEOUT_S) or b""
    return answer.decode(errors="replace").splitlines()


@dataclass
class _Source:
    """What a source file says, without comments, docstrings and layout, and what it imports."""

    text: str
    imports: list[str]
    """Modules by their full names; of `from a import b` also `a.b`, which may be no module."""


def _read_source(path: Path, unused_functions: Collection[str] = ()) -> _Source:
    """Return a source; where this interpreter can't parse it, its bytes and no import."""
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
        tree.body = [node for node in tree.body if not _is_function(node, unused_functions)]
        words, imports = list[str](), list[str]()
        _outline(tree, words, imports)
    except (SyntaxError, ValueError, RecursionError):
        return _Source(repr(content), [])
    return _Source("\n".join(words), imports)


def _is_function(node: ast.stmt, names: Collection[str]) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name in names


def _outline(node: ast.AST, words: list[str], imports: list[str]) -> None:
    """Append the words of a syntax tree and the modules it imports.

    Like `ast.dump`, but without empty fields, in which Python versions differ, without strings
    that stand alone (docstrings), and in a third of the time.
    """
    words.append(type(node).__name__)
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports += _imported_names(node)
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None or value == []:
            continue
        words.append(name)
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, ast.AST):
                words.append(repr(each))
            elif not _is_docstring(each):
                _outline(each, words, imports)
        words.append("]")


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.module is None or node.level:  # relative imports are not used here
        return []
    return [f"{node.module}.{alias.name}" for alias in node.names]


def _with_packages(module: str) -> Iterator[str]:
    """Yield the module and the packages around it, if it is one of this checkout."""
    parts = module.split(".")
    if parts[0] in PACKAGES:
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _files_of(modules: Iterable[str]) -> Iterator[Path]:
    """Yield the source files of those names that are modules or packages."""
    for module in modules:
        path = CHECKOUT.joinpath(*module.split("."))
        yield from filter(Path.is_file, (path.with_suffix(".py"), path / "__init__.py"))


def _digest(texts: dict[str, str]) -> str:
    """Return a hash of sources by name."""
    text = repr(sorted(texts.items()))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
