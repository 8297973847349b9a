"""`--loop` as a chain of dependent jobs on a real Slurm, and as a flow with jobs."""

from __future__ import annotations

import re

import pytest
from loop_lab import (
    FLAGS,
    FLOW,
    LAUNCHER,
    ORDER,
    SCENES,
    TEST_SCENES,
    add_scenes,
    forget,
    mark,
    order,
    run_loop,
)

from training.system.exit_status import DONE, FAILED, GOING_ON

STAGES = ("train", "generate", "refiner", "refined", "rendered", "captured")


@pytest.fixture
def loop_lab(flow_lab):
    """A lab on Slurm with a loop's scenes."""
    add_scenes(flow_lab)
    return flow_lab


def submit(lab, *flags):
    result = lab.run(*FLAGS, "--submit", *flags, program=LAUNCHER, stand_in=False)
    assert result.returncode == DONE, result.stdout + result.stderr
    return result


def status(lab):
    return lab.run("--status", stand_in=False)


def wait_until_over(lab, eventually):
    eventually(lambda: not lab.slurm.squeue(), "the chain's end", 300)
    return status(lab)


def test_a_chain_that_failed_and_was_cancelled_is_ended_by_the_same_command(loop_lab, eventually):
    """All jobs are submitted at once, and each starts when what it needs is done.

    After a failure its dependents leave the queue, and --status says which stage failed and why.
    --cancel by the loop's name ends the running stage and takes all others out of the queue. In
    the end everything was started in order, and the same command submits nothing.
    """
    failing = mark(loop_lab, f"fail_exp_generate_{SCENES[0]}")
    result = submit(loop_lab, "--max-retries", "0")
    assert len(re.findall("submitted: array job", result.stdout)) == len(STAGES)
    over = wait_until_over(loop_lab, eventually)
    assert over.returncode == FAILED
    assert "told to fail" in over.stdout
    assert "refiner" not in order(loop_lab)
    assert "exp_captured_train_synthetic_pair02_a" in order(loop_lab)
    failing.unlink()
    hanging = mark(loop_lab, "hang_refiner")
    forget(loop_lab)
    submit(loop_lab, "--kill-grace", "1")
    eventually(lambda: "refiner" in order(loop_lab), "the refiner", 240)
    shown = status(loop_lab)
    assert shown.returncode == GOING_ON
    assert "1 running" in shown.stdout
    ended = loop_lab.run("--cancel", stand_in=False)
    assert ended.returncode == DONE, ended.stdout + ended.stderr
    assert order(loop_lab) == [f"exp_generate_{SCENES[0]}", "aggregate", "refiner"]
    assert status(loop_lab).returncode == FAILED
    hanging.unlink()
    forget(loop_lab)
    submit(loop_lab)
    over = wait_until_over(loop_lab, eventually)
    assert over.returncode == DONE, over.stdout
    aggregate, refiner, *refined = order(loop_lab)
    assert (aggregate, refiner) == ("aggregate", "refiner")
    assert sorted(refined) == [f"exp_refined_train_{name}" for name in TEST_SCENES]
    assert "submitted" not in submit(loop_lab).stdout


@pytest.mark.long
def test_a_flow_runs_the_loop_in_jobs_and_its_graph_shows_the_chain(loop_lab, prefect_api):
    """Each scene's data hangs on its training, the refiner on the merge, refined views on it."""
    flags = ("--cluster", "slurm", "--exp-name", "by_flow", "--slurm.scenes-per-job", "2")
    flags += ("--slurm.array-parallelism", "1")
    result = run_loop(loop_lab, FLOW, *flags)
    assert result.returncode == DONE, result.stdout + result.stderr
    assert sorted(order(loop_lab)) == sorted(name.replace("exp_", "by_flow_") for name in ORDER)
    run = prefect_api.only_run("by_flow")
    assert run["state"]["type"] == "COMPLETED"
    assert run["state"]["message"].startswith("train: 4 of 4 scenes done; generate: 4 of 4")
    ids = {name: each["id"] for name, each in prefect_api.task_runs(run).items()}

    def parents(name):
        found = prefect_api.parents(run, name)
        return {label for label, each in ids.items() if each in found}

    for scene in SCENES:
        assert parents(f"train: {scene}") == set()
        assert parents(f"generate: {scene}") == {f"train: {scene}"}
    assert parents("generate: aggregate") == {f"generate: {scene}" for scene in SCENES}
    assert parents("refiner: refiner") == {"generate: aggregate"}
    for scene in TEST_SCENES:
        assert parents(f"refined: {scene}") == {"refiner: refiner"}
        assert parents(f"rendered: {scene}") == parents(f"captured: {scene}") == set()
    report = loop_lab.root / "results/_experiments/by_flow/report.md"
    assert "won of what captured views gain" in report.read_text()
