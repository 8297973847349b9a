"""A sweep as a user runs it: one command, then what status, report and the next command say."""

from __future__ import annotations

import json

import pytest

from flows.report import main as report
from training.run import main, sweep_command

SWEEP = ("do=ok,fail", "seed=1,2")


@pytest.fixture(scope="module")
def swept(module_lab):
    """A sweep of two settings and two seeds, of which one setting fails."""
    module_lab.add_scene("a_1")
    return module_lab.call("--workers", "2", "--sweep", *SWEEP)


@pytest.fixture(autouse=True)
def place(module_lab, monkeypatch):
    for key, value in module_lab.environment.items():
        monkeypatch.setenv(key, value)


def test_every_setting_is_trained_in_one_go(module_lab, swept):
    """The others of a failed setting finish; the table has means, the best, and what is missing."""
    assert swept.returncode == 1
    assert "sweep exp: 4 settings of 1 scene, 4 trainings: 4 to run" in swept.stdout
    folder = module_lab.output("a_1")
    record = json.loads((folder / "do=ok,seed=2/run.json").read_text(encoding="utf-8"))
    assert (record["scene"], record["exp_name"]) == ("a_1", "exp/do=ok,seed=2")
    table = [line.split() for line in swept.stdout.splitlines()]
    assert ["ok", "2", "of", "2", "20.0", "±", "0.0", "5.0", "±", "0.0"] in table
    assert ["fail", "0", "of", "2"] in table
    assert "best PSNR dB: do=ok: 20.0 ± 0.0" in swept.stdout
    assert "2 scenes failed (trainer_error): do=fail,seed=1/a_1, do=fail,seed=2" in swept.stdout
    written = module_lab.root / "results/_experiments/exp"
    assert "## By setting" in (written / "report.md").read_text(encoding="utf-8")
    assert (written / "sweep.png").exists()


@pytest.mark.usefixtures("swept")
def test_status_shows_all_settings_or_one(module_lab, capsys):
    own = [*module_lab.arguments(stand_in=False), "--status"]
    assert main(own) == 1
    assert "experiment exp, 4 scenes: 2 failed, 2 done" in capsys.readouterr().out
    assert main([*own, "--exp-name", "exp/do=ok,seed=1"]) == 0
    shown = capsys.readouterr().out
    assert "do=ok,seed=1/a_1" in shown
    assert "seed=2" not in shown
    assert main([*own, "--exp-name", "exp/do=ok,sed=1"]) == 2
    assert "did you mean exp/do=ok,seed=1" in capsys.readouterr().err
    assert main(["--logs", "a_1", "--exp-name", "exp/do=fail,seed=2"]) == 0
    assert "the loss is not a number" in capsys.readouterr().out
    assert main(["--cancel", "--exp-name", "exp/do=ok,seed=1"]) == 2
    assert "end the sweep" in capsys.readouterr().err
    assert main(["--cancel", "--exp-name", "exp"]) == 0


@pytest.mark.usefixtures("swept")
def test_each_setting_is_an_experiment_for_programs_and_comparisons(capsys):
    assert report(["--exp-name", "exp", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["experiment"], row["scene"], row["state"]) for row in rows[::2]] == [
        ("exp/do=fail,seed=1", "a_1", "failed"),
        ("exp/do=ok,seed=1", "a_1", "done"),
    ]
    assert rows[2]["swept"] == {"do": "ok", "seed": "1"}
    others = ["--exp-name", "exp/do=ok,seed=1", "--compare", "exp/do=ok,seed=2"]
    assert report(others) == 0
    assert "compare_exp_do=ok,seed=2.html" in capsys.readouterr().out


@pytest.mark.usefixtures("swept")
def test_the_same_command_again_trains_what_is_missing(module_lab, capsys):
    """And `training-scheduler sweep` takes the values first."""
    flags = module_lab.arguments("--dry-run")
    assert sweep_command([*SWEEP, *flags]) == 0
    shown = capsys.readouterr().out
    assert "4 trainings: 2 to run, 2 skipped" in shown
    assert "# do=ok,seed=1/a_1: skip (done)" in shown
    assert sweep_command(flags) == 2
    assert main([*flags, "--sweep", "--scenes"]) == 2
    said = capsys.readouterr().err
    assert said.count("--sweep is followed by no value\n    -> e.g. --sweep train") == 2
    assert "--scenes is followed by no value" in said
    assert main([*flags, "--overrides", "seed=1,2", "--train-script", OWN]) == 2
    assert "--sweep seed=1,2" in capsys.readouterr().err


OWN = "training/simple_multi_human_trainer.py"
