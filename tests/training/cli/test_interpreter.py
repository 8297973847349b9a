"""A command that is started with a Python that can't run it says so in one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess import interpreter

CHECKOUT = Path(__file__).resolve().parents[3]
COMMANDS = [
    ["training/run.py", "--help"],
    ["training/run.py", "--in-job", "array", "plan.json", "0"],
    ["-m", "flows.train", "--help"],
    ["-m", "flows.report", "--help"],
    ["-m", "deployments.serve"],
    ["-m", "deployments.deploy"],
    ["-m", "deployments.check"],
    ["-m", "preprocess.synthetic"],
    ["-m", "preprocess.import_hi4d"],
    ["training/simple_multi_human_trainer.py"],
]
INTERRUPTED_IMPORT = """
import sys


class Interrupt:
    def find_spec(self, name, *_):
        if name.startswith(("pydantic.", "numpy.")):
            raise KeyboardInterrupt


sys.meta_path.insert(0, Interrupt())
"""
"""A sitecustomize with which Ctrl-C comes while a command's modules are imported."""


def run(
    python: list[str], command: list[str], env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {"capture_output": True, "text": True, "timeout": 60}
    return subprocess.run([*python, *command], cwd=CHECKOUT, env=env, check=False, **kept)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_the_packages_there_is_one_line_and_no_traceback(command):
    """`-S`: no site-packages, as outside the virtual environment. Status 2, with the remedy."""
    result = run([sys.executable, "-S"], command)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "lacks pydantic" in result.stderr
    assert ".venv/bin/python" in result.stderr


def test_the_flow_names_prefect_too_and_the_launcher_does_not():
    """The launcher works where Prefect is not installed."""
    assert "prefect" in run([sys.executable, "-S"], COMMANDS[2]).stderr
    assert "prefect" not in run([sys.executable, "-S"], COMMANDS[0]).stderr


@pytest.fixture(scope="module")
def old_python():
    """A Python that is too old, where this machine has one."""
    for name in ("python3.8", "python3.9", "python3.10"):
        python = shutil.which(name)
        if python is not None and run([python], ["--version"]).returncode == 0:
            return python
    return pytest.skip("needs Python 3.8, 3.9 or 3.10")


@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[2]], ids=" ".join)
def test_an_old_python_is_named_with_its_version(old_python, command):
    """Its syntax errors would not say so."""
    result = run([old_python], command)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "older than 3.11" in result.stderr


def test_a_python_that_has_everything_passes(capsys):
    """This one has; a single package that it lacks is named alone."""
    interpreter.require(interpreter.FLOW)
    with pytest.raises(SystemExit) as ended:
        interpreter.require(("json", "no_such_package"))
    assert ended.value.code == 2
    assert "lacks no_such_package:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if "--in-job" not in each], ids=" ".join
)
def test_ctrl_c_during_the_imports_ends_without_a_traceback(command, tmp_path):
    """Nothing is printed, and the signal is what ended it: a shell shows status 130."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_IMPORT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = run([sys.executable], command, env=environment)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")
