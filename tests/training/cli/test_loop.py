"""`--loop` on this machine: stages in sequence, resumed, stopped by a failed one, reported."""

from __future__ import annotations

import re
import shutil
import signal

import pytest
from loop_lab import (
    FLAGS,
    LAUNCHER,
    TEST_SCENES,
    TRAINER,
    add_scenes,
    forget,
    mark,
    order,
    order_of,
    use_stand_in,
)
from loop_lab import SCENES as FOUR

SCENES = (FOUR[0], TEST_SCENES[0])
ORDER = order_of(SCENES)


@pytest.fixture
def loop_lab(lab, monkeypatch):
    """A lab with a train and a test scene, `loop` to run the loop, `look` for its status."""
    use_stand_in(monkeypatch.setattr)
    add_scenes(lab, SCENES)
    own = ("--train-script", str(TRAINER))
    lab.loop = lambda *more: lab.call(*FLAGS, *more, *own, stand_in=False)
    lab.look = lambda *flags: lab.call(*flags, stand_in=False)
    return lab


def said(result):
    return result.stdout + result.stderr


def test_a_loop_runs_its_stages_in_order_and_then_only_what_is_new(loop_lab):
    """Test scenes alone are trained with novel views; the report says what the loop has won.

    The same command has nothing to do. A scene's new model makes new data of it, this a new
    refiner, and this new refined views.
    """
    result = loop_lab.loop()
    assert result.returncode == 0, said(result)
    assert tuple(order(loop_lab)) == ORDER
    report = (loop_lab.root / "results/_experiments/exp/report.md").read_text()
    assert "won of what captured views gain" in report
    assert "25%" in report
    assert "| synthetic_pair02_a | 20.00 | +0.50 | +1.00 | +4.00 |" in report
    refined = (loop_lab.root / "results/_experiments/exp_refined/report.md").read_text()
    assert "captured views gain" not in refined
    forget(loop_lab)
    again = loop_lab.loop()
    assert again.returncode == 0, said(again)
    assert order(loop_lab) == []
    status = loop_lab.look("--status")
    assert status.returncode == 0, said(status)
    assert [line.split()[0] for line in status.stdout.splitlines()] == [
        "stage",
        "train",
        "generate",
        "refiner",
        "refined",
        "rendered",
        "captured",
    ]
    shutil.rmtree(loop_lab.output(SCENES[0]))
    result = loop_lab.loop()
    assert result.returncode == 0, said(result)
    assert order(loop_lab) == [
        f"exp_train_{SCENES[0]}",
        f"exp_generate_{SCENES[0]}",
        "aggregate",
        "refiner",
        f"exp_refined_train_{SCENES[1]}",
    ]


def test_a_failed_stage_stops_what_needs_it_and_a_killed_loop_goes_on_where_it_was(
    loop_lab, eventually
):
    """Nothing else is stopped by it; what is done is left out by the same command.

    That launcher is killed by -9 while the refiner runs: the next one merges the data again, and
    nothing else that was done runs again.
    """
    failing = mark(loop_lab, "fail_refiner")
    result = loop_lab.loop()
    assert result.returncode == 1
    assert "stage refined: not started, since stage refiner is not done" in said(result)
    ran = [each for each in ORDER if "_refined_" not in each]
    assert order(loop_lab) == ran
    status = loop_lab.look("--status")
    assert status.returncode == 1
    assert "told to fail" in status.stdout
    failing.unlink()
    forget(loop_lab)
    hanging = mark(loop_lab, "hang_refiner")
    process = loop_lab.popen(*FLAGS, program=LAUNCHER, stand_in=False)
    eventually(lambda: order(loop_lab) == ["aggregate", "refiner"], "the refiner")
    status = loop_lab.look("--status")
    assert status.returncode == 3
    assert "stage refiner" in status.stdout
    process.send_signal(signal.SIGKILL)
    process.wait()
    record = loop_lab.root / "results/_experiments/exp/refiner/run.json"
    eventually(lambda: '"running"' not in record.read_text(), "the refiner's end")
    hanging.unlink()
    forget(loop_lab)
    result = loop_lab.loop()
    assert result.returncode == 0, said(result)
    assert order(loop_lab) == ["aggregate", "refiner", *(x for x in ORDER if "_refined_" in x)]


@pytest.mark.parametrize("how", ["ctrl-c", "cancel"])
def test_a_stop_ends_the_whole_loop(loop_lab, eventually, how):
    """Ctrl-C, or --cancel from elsewhere: the running stage ends as cancelled, none is begun."""
    run = f"exp_generate_{SCENES[1]}"
    mark(loop_lab, f"hang_{run}")
    process = loop_lab.popen(*FLAGS, "--kill-grace", "1", program=LAUNCHER, stand_in=False)
    eventually(lambda: run in order(loop_lab), "the stage")
    if how == "cancel":
        result = loop_lab.look("--cancel")
        assert result.returncode == 0, said(result)
    else:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert order(loop_lab)[-1] == run
    record = loop_lab.output(SCENES[1]) / "difix_data" / "run.json"
    assert '"cancelled"' in record.read_text()
    assert loop_lab.look("--status").returncode == 1


def test_faults_of_all_stages_are_found_before_the_first(loop_lab):
    """A key that the loop sets, one that no stage knows, and scenes without one for testing."""
    flags = ("--scene-name-includes", "pair01", "--overrides", "run_mode=train", "foo=1")
    result = loop_lab.loop(*flags)
    assert result.returncode == 2
    assert "--loop sets run_mode itself" in result.stderr
    assert "foo=1" in result.stderr
    assert "no chosen scene is of a test group: synthetic/pair01" in result.stderr
    result = loop_lab.loop("--scene-name-includes", "pair02")
    assert result.returncode == 2
    assert "all chosen scenes are of test groups" in result.stderr
    result = loop_lab.loop("--no-auto-schedule-aggregate")
    assert result.returncode == 2
    result = loop_lab.loop("--results-root", "$NOWHERE/results", "--overrides", "foo=1")
    assert result.returncode == 2
    assert "$NOWHERE/results" in result.stderr
    assert "foo=1" in result.stderr
    assert not (loop_lab.root / "results").exists()


def test_a_dry_run_shows_the_plans_of_all_stages(loop_lab):
    """Each with what can be checked only when an earlier one is done; nothing is created."""
    result = loop_lab.loop("--dry-run", "--overrides", "seed=3")
    assert result.returncode == 0, said(result)
    heads = [line for line in result.stdout.splitlines() if line.startswith("===")]
    assert heads == [
        "=== stage train",
        "=== stage generate, after stage train: what that makes is checked then",
        "=== stage refiner, after stage generate: what that makes is checked then",
        "=== stage refined, after stage refiner: what that makes is checked then",
        "=== stage rendered",
        "=== stage captured",
    ]
    commands = [line for line in result.stdout.splitlines() if line.startswith("TS_")]
    assert len(commands) == len(ORDER)
    assert all("seed=3" in command for command in commands)
    assert not (loop_lab.root / "results").exists()


def sbatch_lines(result):
    lines = [line for line in result.stdout.splitlines() if line.startswith("sbatch")]
    return {
        re.search(r"--job-name=(\S+)", line)[1]: re.findall(r"--dependency=(\S+?)'? ", line)
        for line in lines
    }


def test_a_dry_run_shows_the_jobs_of_the_chain_and_what_each_waits_for(loop_lab):
    """array, array, aggregate, refiner, array; comparisons wait only where there is a bound."""
    result = loop_lab.loop("--submit", "--dry-run")
    assert result.returncode == 0, said(result)
    free = {"exp_train": [], "exp_rendered": [], "exp_captured": []}
    chain = {
        "exp_generate": ["afterok:<exp_train>"],
        "exp_generate_aggregate": ["afterok:<exp_generate>"],
        "exp_refiner": ["afterok:<exp_generate_aggregate>"],
        "exp_refined": ["afterok:<exp_refiner>"],
    }
    assert sbatch_lines(result) == free | chain
    bounded = loop_lab.loop("--submit", "--dry-run", "--slurm.array-parallelism", "4")
    assert sbatch_lines(bounded) == free | chain | {
        "exp_generate": ["afterok:<exp_train>"],
        "exp_refiner": ["afterok:<exp_generate_aggregate>,afterany:<exp_generate>"],
        "exp_refined": ["afterok:<exp_refiner>"],
        "exp_rendered": ["afterany:<exp_refined>"],
        "exp_captured": ["afterany:<exp_rendered>"],
    }
    assert not (loop_lab.root / "state").exists()
