"""What Tab offers, as argcomplete answers a shell; and that no heavy package is imported for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.console import completion_words
from deployments.console.completion import COMPLETERS, FILES, FOLDERS
from deployments.console.subcommands import COMMANDS

CHECKOUT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "prefect", "dask", "hydra", "omegaconf", "pydantic")
OBSERVED = f"""
import atexit, os, sys
end = os._exit
def seen(status):
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
    end(status)
os._exit = seen
from deployments.console.command import main
main()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache and results of one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TS_RESULTS_ROOT", str(tmp_path / "results"))
    return tmp_path


@pytest.fixture
def tab(tmp_path):
    """Complete a command line as bash's function does; return words and what was imported."""

    def complete(line: str) -> tuple[list[str], str]:
        line = f"training-scheduler {line}"
        answer = tmp_path / "answer"
        asked = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_SHELL": "bash",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        ended = subprocess.run(
            [sys.executable, "-c", OBSERVED],
            cwd=CHECKOUT,
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return [word.strip() for word in answer.read_text().split("\n")], ended.stderr.strip()

    return complete


def test_tab_completes_commands_flags_and_values(tab, place):
    """Subcommands; a flag; choices; scenes; experiments of the result root; keys."""
    for scene, experiment in (("a", "first"), ("b", "second")):
        record = place / "results" / scene / experiment / "run.json"
        record.parent.mkdir(parents=True)
        record.touch()
    (place / "results" / "a" / "no_record").mkdir()
    assert tab("sta")[0] == ["status"]
    assert tab("train --clus")[0] == ["--cluster"]
    assert tab("train --cluster ")[0] == ["local", "slurm"]
    assert "synthetic_pair01_wave" in tab("launch --scene-name-includes syn")[0]
    assert "synthetic_pair01_wave" in tab("check synthetic_pair01_hug syn")[0]
    assert tab("status --exp-name ")[0] == ["first", "second"]
    keys, imported = tab("train --exp-name e --overrides seed=1 train.optimization.ep")
    assert keys == ["train.optimization.epochs="]
    assert imported == "[]", "a shell waits for this"


def test_the_flags_are_those_of_the_models_and_kept(place, monkeypatch):
    """Found once; a newer module has them found anew; a broken file does too."""
    models = {name: each.options for name, each in COMMANDS.items() if each.options}
    flags = completion_words.flags_by_command(models)
    by_name = {name: flag for flag in flags["train"] for name in flag["names"]}
    assert by_name["--no-snapshot"]["nargs"] == 0
    assert by_name["--overrides"]["nargs"] == "*"
    assert by_name["--cluster"]["choices"] == ["local", "slurm"]
    assert "--cluster" not in {name for flag in flags["launch"] for name in flag["names"]}
    (kept,) = (place / "cache" / "training-scheduler").iterdir()
    found_again = []
    monkeypatch.setattr(completion_words, "_flags", lambda model: found_again.append(model) or [])
    assert completion_words.flags_by_command(models) == flags
    assert not found_again
    kept.write_text(kept.read_text().replace('"stamp": [', '"stamp": [1, '))
    completion_words.flags_by_command(models)
    assert len(found_again) == len(models)
    kept.write_text("{")
    completion_words.flags_by_command(models)
    assert len(found_again) == 2 * len(models)


def test_a_cache_that_cannot_be_written_is_done_without(place, monkeypatch):
    """As in a home that is read-only."""
    (place / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "file"))
    models = {"scenes": COMMANDS["scenes"].options}
    names = [flag["names"] for flag in completion_words.flags_by_command(models)["scenes"]]
    assert ["--scenes-dir"] in names


def test_every_completed_flag_exists():
    """A flag that is renamed would silently lose its completion."""
    models = {name: each.options for name, each in COMMANDS.items() if each.options}
    flags = completion_words.flags_by_command(models)
    names = {name for each in flags.values() for flag in each for name in flag["names"]}
    assert not {*COMPLETERS, *FOLDERS, *FILES} - names


def test_the_keys_are_those_of_the_configuration():
    """As Hydra composes it."""
    from training.configuration import overrides
    from training.plan.train_script import OWN_CONFIG

    composed = overrides.flat(overrides.compose(OWN_CONFIG, ()).content)
    assert set(completion_words.configuration_keys()) == set(composed)


def test_scene_files_that_cannot_be_read_are_left_out(tmp_path):
    """Completion is no place for a fault."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    (folder / "good.json").write_text(json.dumps({"seq_name": "good_scene", "cam_id": 1}))
    (folder / "bad.json").write_text("{")
    (folder / "list.json").write_text("[]")
    assert completion_words.scenes(str(folder)) == ["good_scene"]
    assert completion_words.scenes(str(tmp_path / "none")) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_code(shell, capsys):
    """Which names the command to complete."""
    from deployments.console.command import main

    assert main(["completion", shell]) == 0
    assert "training-scheduler" in capsys.readouterr().out
