"""What our sources may not do with files that others can write; by syntax tree, not by text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for package in ("training", "preprocess", "flows", "deployments")
    for path in (CHECKOUT / package).rglob("*.py")
)
UNPICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RUN_A_SCRIPT = {"script_process.py", "imports_ahead.py"}
"""They run the user's own train script, as `python SCRIPT` does."""
ONLY_AS = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "numpy.load": ("allow_pickle", "False"),
}
NEVER = {
    "eval",
    "os.system",
    "os.popen",
    "torch.hub.load",
    "torch.jit.load",
    "yaml.full_load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
}
KEYWORDS = {"shell", "allow_pickle"}
LOOKED_AT = {each.rpartition(".")[2] for each in (*NEVER, *ONLY_AS, "exec", "yaml.load")}
"""Last names of calls: to write out all others would take seconds."""


def violations(source: str, name: str = "x.py") -> Iterator[str]:
    """Yield what a source may not do."""
    tree = ast.parse(source)
    safe_loaders = {
        node.name if isinstance(node, ast.ClassDef) else ast.unparse(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.Assign) and "SafeLoader" in _origin(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in UNPICKLING)
        elif isinstance(node, ast.ImportFrom) and node.module in UNPICKLING:
            yield from (each.name for each in node.names if not each.name.endswith("Error"))
        elif isinstance(node, ast.Call):
            yield from _wrong_call(node, name, safe_loaders)


def _origin(node: ast.ClassDef | ast.Assign) -> str:
    """Return what a class or a variable is made from."""
    parts = node.bases if isinstance(node, ast.ClassDef) else [node.value]
    return " ".join(map(ast.unparse, parts))


def _wrong_call(call: ast.Call, name: str, safe_loaders: set[str]) -> Iterator[str]:
    own = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if own not in LOOKED_AT and not KEYWORDS & {each.arg for each in call.keywords}:
        return
    called = ast.unparse(call.func)
    given = {each.arg: ast.unparse(each.value) for each in call.keywords}
    if called in NEVER or (called == "exec" and name not in RUN_A_SCRIPT):
        yield called
    if called in ONLY_AS and given.get(ONLY_AS[called][0]) != ONLY_AS[called][1]:
        yield called
    if called == "yaml.load" and ast.unparse(call.args[1]) not in safe_loaders:
        yield called
    is_shell = called.startswith("subprocess.") and given.get("shell", "False") != "False"
    if is_shell or given.get("allow_pickle", "False") != "False":
        yield called


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=weights)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_check_finds_what_it_is_for(source):
    assert [*violations(source)]


def test_no_source_runs_what_a_file_says():
    """Records, plans, configuration, scene data and checkpoints are data, whoever wrote them."""
    assert len(SOURCES) > 200
    found = {
        f"{path.relative_to(CHECKOUT)}: {what}"
        for path in SOURCES
        for what in violations(path.read_text(encoding="utf-8"), path.name)
    }
    assert found == set()
