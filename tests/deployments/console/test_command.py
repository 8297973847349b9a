"""The console command: it reaches every subcommand, and speaks in the user's spelling."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

import pytest

from deployments.console import command, version
from deployments.console.subcommands import COMMANDS
from preprocess import interpreter, roots
from training.system import versions as installed

CHECKOUT = Path(__file__).resolve().parents[3]
DONE, USAGE, GOING_ON = 0, 2, 3


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Roots of one's own."""
    for name in ("RESULTS", "STATE", "SCENE_DATA"):
        monkeypatch.setenv(f"TS_{name}_ROOT", str(tmp_path / name.lower()))
    monkeypatch.delenv(command.COMPLETES, raising=False)
    return tmp_path


def run(*arguments: str) -> int:
    """The exit status of a command line, for a --help too."""
    try:
        return command.main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_a_help_that_names_it(name, capsys):
    """Its function is there and takes arguments; the usage is spelled as the user typed it."""
    assert run(name, "--help") == DONE
    assert capsys.readouterr().out.startswith(f"usage: training-scheduler {name} ")


@pytest.mark.parametrize("name", [name for name, each in COMMANDS.items() if each.options])
def test_the_options_of_a_subcommand_are_those_that_a_shell_completes(name, capsys):
    """Each flag of the model stands in the help of the function."""
    from training.plan.options import flag_name

    module, _, model_name = COMMANDS[name].options.partition(":")
    model = getattr(import_module(module), model_name)
    run(name, "--help")
    shown = capsys.readouterr().out
    assert not [field for field in model.model_fields if flag_name(field, model) not in shown]


@pytest.mark.parametrize(
    ("arguments", "spelling"),
    [
        (["launch", "--foo"], "training-scheduler launch --help"),
        (["train", "--foo"], "training-scheduler train --help"),
        (["submit", "--exp-name"], "training-scheduler submit --help"),
        (["report"], "training-scheduler report --help"),
        (["logs", "--exp-name", "e"], "training-scheduler logs --help"),
        (["cancel"], "training-scheduler cancel --help"),
        (["train", "--submit", "--exp-name", "e"], "--submit belongs to training-scheduler launch"),
    ],
)
def test_errors_name_the_command_that_was_typed(arguments, spelling, capsys):
    """Status 2, and no script's name."""
    assert run(*arguments) == USAGE
    shown = capsys.readouterr().err
    assert spelling in shown
    assert "run.py" not in shown


@pytest.mark.parametrize(
    ("main", "spelling"),
    [("training.run", "python training/run.py"), ("flows.report", "python -m flows.report")],
)
def test_scripts_and_modules_keep_their_own_spelling(main, spelling, capsys):
    """Who has not typed `training-scheduler` is not told of it."""
    assert import_module(main).main([]) == USAGE
    assert f"see {spelling} --help" in capsys.readouterr().err


def test_an_unknown_subcommand_is_refused_with_the_nearest(capsys):
    """And without any, help is shown; both end with status 2."""
    assert run("tarin") == USAGE
    assert "did you mean train?" in capsys.readouterr().err
    assert run() == USAGE
    assert "experiments" in capsys.readouterr().err


def test_submit_is_the_launchers_submit(lab, monkeypatch, capsys):
    """A dry run prints the sbatch line of the plan."""
    lab.add_scene("a")
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    assert run("submit", *lab.arguments("--dry-run")) == DONE
    assert "sbatch" in capsys.readouterr().out


def test_missing_packages_are_one_line(monkeypatch, capsys):
    """Found before anything is imported; an installed copy is not told of .venv."""
    monkeypatch.setattr(interpreter, "find_spec", lambda name: None if name == "prefect" else name)
    assert run("train", "--help") == USAGE
    assert "lacks prefect: start the command with the project's own .venv" in (
        capsys.readouterr().err
    )
    assert run("launch", "--help") == DONE
    monkeypatch.setattr(roots, "MARK", "no such file")
    assert run("train") == USAGE
    assert "--no-deps" in capsys.readouterr().err


def test_versions_are_told_without_importing_what_they_are_of():
    """One process, as typed: torch alone takes seconds to import."""
    code = (
        "import sys; from deployments.console.command import main; status = main(['--version']);"
        "heavy = {'torch', 'prefect', 'dask', 'distributed', 'pydantic'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else status)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    names = [line.split()[0] for line in ended.stdout.splitlines()]
    assert names == ["training-scheduler", "Python", "Prefect", "Dask", "PyTorch"]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] in ended.stdout.splitlines()[0]


def test_an_installed_copy_knows_the_commit_that_pip_installed(monkeypatch):
    """From pip's note of a Git address; the repository around a .venv is not asked."""

    class Distribution:
        def read_text(self, name):
            assert name == "direct_url.json"
            return '{"url": "…", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}'

    monkeypatch.setattr(roots, "MARK", "no such file")
    monkeypatch.setattr(version, "distribution", lambda _: Distribution())
    monkeypatch.setattr(installed, "version", lambda _: "7.8")
    assert version.versions().splitlines()[0] == ("training-scheduler 7.8 (commit 0123456789ab)")


def test_help_wraps_at_the_terminals_width(monkeypatch, capsys):
    """Narrow and wide; an example begins its own line."""
    for columns in (50, 160):
        monkeypatch.setenv("COLUMNS", str(columns))
        run("status", "--help")
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) < columns
        assert any(line.strip().startswith("e.g. --watch") for line in lines)
    assert any(len(line) > 80 for line in lines)


def test_the_wheel_has_every_file_that_is_no_module():
    """All that Git tracks in the packages, but for texts about them."""
    tool = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    globs = [
        f"{package}/{glob}"
        for package, found in tool["setuptools"]["package-data"].items()
        for glob in found
    ]
    packages = ["deployments", "flows", "training", "preprocess"]
    tracked = subprocess.run(
        ["git", "ls-files", *packages], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.split()
    others = [name for name in tracked if not name.endswith((".py", ".md"))]
    assert others
    assert not [name for name in others if not any(fnmatch(name, glob) for glob in globs)]


def test_a_reader_that_has_gone_ends_nothing():
    """`training-scheduler --version | head -0`: no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [sys.executable, "-m", "deployments.console", "--version"],
        cwd=CHECKOUT,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert (ended.returncode, ended.stderr) == (0, "")
