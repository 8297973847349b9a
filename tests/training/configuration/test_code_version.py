"""The version of the code: which sources are in it, what of them counts, and Git's commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from training.configuration import code_version
from training.configuration.code_version import (
    checkout_content,
    own_code_digest,
    script_digest,
    with_commit,
)
from training.records.record import CodeVersion

SCRIPT = '''"""About it."""
import os
from training import first
from preprocess.deep.second import thing


def _train():
    """Say."""
    from training.lazy import more
    return more  # here


def _generate():
    import training.other
'''
VERSION = CodeVersion(digest="d", content="c")
MODULES = ("first", "lazy", "other", "unused")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout with a script and modules; returns its root."""
    monkeypatch.setattr(code_version, "CHECKOUT", tmp_path)
    (tmp_path / "training").mkdir()
    for name in MODULES:
        (tmp_path / "training" / f"{name}.py").write_text("x = 1\n")
    deep = tmp_path / "preprocess" / "deep"
    deep.mkdir(parents=True)
    (deep / "__init__.py").write_text("")
    (deep / "second.py").write_text("from training.first import x\nthing = 2\n")
    (tmp_path / "training" / "script.py").write_text(SCRIPT)
    return tmp_path


def digest(checkout: Path) -> str:
    return own_code_digest(checkout / "training" / "script.py", ["_generate"])


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("training/first.py", True),
        ("training/lazy.py", True),
        ("preprocess/deep/second.py", True),
        ("preprocess/deep/__init__.py", True),
        ("training/other.py", False),
        ("training/unused.py", False),
    ],
)
def test_the_import_closure_of_the_run_mode_counts(checkout, file, counts):
    """Imports inside functions too, packages too; not those of another mode's function."""
    before = digest(checkout)
    with (checkout / file).open("a") as stream:
        stream.write("y = 3\n")
    assert (digest(checkout) != before) is counts


def test_the_content_of_the_checkout_covers_every_source(checkout):
    """Equal content means an equal digest, so no source of any run mode may be left out."""
    seen = {checkout_content()}
    for file in sorted(checkout.rglob("*.py")):
        file.write_text(file.read_text() + "# changed\n")
        seen.add(checkout_content())
    assert len(seen) == 1 + len(list(checkout.rglob("*.py")))


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("x = 1", "# why\nx = 1  # so", False),
        ("x = 1", '"""Docs."""\n\nx = 1\n"""Of x."""', False),
        ("def f(): return 1", 'def f():\n    """Docs."""\n    return (1)', False),
        ("class A: x: int = 1", 'class A:\n    """A."""\n\n    x: int = 1\n    """X."""', False),
        ("x = 1", "x = 2", True),
        ("x = 'a'", "x = 'b'", True),
        ("def f(): return 1", "def f(): return 1.0", True),
        ("x = f(a)", "x = f(b=a)", True),
        ("f(1, [2])", "f(1, 2)", True),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(tmp_path, before, after, counts):
    """What has no effect is no other version; everything else is."""
    script = tmp_path / "train.py"
    script.write_text(before)
    first = script_digest(script)
    script.write_text(after)
    assert (script_digest(script) != first) is counts


def test_a_script_that_this_python_can_not_parse_counts_by_its_bytes(tmp_path):
    """A job's interpreter may be newer; so may a nesting be too deep to follow."""
    script = tmp_path / "train.py"
    script.write_text("match:\n")
    first = script_digest(script)
    script.write_text("match: \n")
    assert script_digest(script) != first
    branches = "".join(f"elif x == {i}: pass\n" for i in range(1000))
    script.write_text(f"if x: pass\n{branches}")
    assert script_digest(script) == script_digest(script)


def test_the_version_names_the_commit_and_whether_the_tree_was_clean(tmp_path, monkeypatch):
    """As Git says it; changed tracked files make it unclean, new files do not."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "new").touch()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))  # as in a hook of another repository
    version = with_commit(VERSION, tmp_path)
    assert len(version.commit) == 40
    assert version.is_clean
    (tmp_path / "a").write_text("2")
    assert with_commit(VERSION, tmp_path).is_clean is False
    assert str(version).startswith(f"d (commit {version.commit[:7]}")


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    """No checkout, no git, a git that does not answer: the digest alone."""
    assert with_commit(VERSION, tmp_path).commit == ""
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(code_version, "GIT_TIMEOUT_S", 0.2)
    assert with_commit(VERSION, Path(__file__).parent).commit == ""
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert with_commit(VERSION, Path(__file__).parent).is_clean is None
