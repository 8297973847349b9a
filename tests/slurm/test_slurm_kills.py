"""kill -9 of a flow on Slurm in each phase, and of a submission; the same command again."""

from __future__ import annotations

import signal

import pytest
from array_on_slurm import submitted
from flow_on_slurm import FLOW, script
from private_slurm import clear

from tests.faults.kills import (
    AGGREGATES,
    BEFORE,
    BETWEEN,
    PLANNING,
    PLANS,
    WORDS,
    Killed,
    cells,
    kill_all,
)
from tests.faults.sites import KILL_IN, site

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def flown(make_lab, slurm, prefect_api):
    lab = make_lab()
    lab.environment |= {**slurm.environment, "PREFECT_API_URL": prefect_api.url}
    moments = {
        PLANS: PLANNING,
        BEFORE: "flows.slurm.runners:job_runner:1",
        BETWEEN: "flows.runner.scene_events:SceneEvents._show_ended:1",
        AGGREGATES: "flows.runner.tasks:aggregate_experiment:1",
    }
    flags = ("--run-all", "--cluster", "slurm", "--slurm.probe", "never", "--kill-grace", "1")

    def start(exp_name):
        own = ("--exp-name", exp_name, "--slurm.array-parallelism", "1")
        return lab.popen(*flags, *own, program=FLOW)

    def gone():
        slurm.wait(lambda: not slurm.squeue() and not lab.strays(), "nothing to be left", 90)
        return []

    made = kill_all(lab, "slurm_flow", moments, start, gone)
    assert not clear(lab, slurm)
    return made


@pytest.mark.parametrize("fault", cells("slurm_flow"))
def test_slurm_flow(flown: dict[str, Killed], fault: str):
    """Its jobs are gone, too."""
    flown[fault].check()


@pytest.fixture
def submit(slurm_lab):
    """Run `--submit` with and without a moment at which it is killed."""
    for name in ("a_1", "a_2"):
        slurm_lab.add_scene(name)
    path = site(slurm_lab, KILL_IN)

    def run(*flags, moment=""):
        before = dict(slurm_lab.environment)
        if moment:
            slurm_lab.environment |= {"PYTHONPATH": path, "TS_TEST_KILL_IN": moment}
        done = slurm_lab.run("--submit", "--run-all", *flags)
        slurm_lab.environment = before
        return done

    return run


@pytest.mark.fault(PLANS, "slurm_array", flow="killed", left="nothing", **WORDS[PLANS])
def test_an_array_whose_submission_is_killed_while_it_plans(slurm_lab, slurm, submit):
    """Nothing is submitted or written; the same command submits all."""
    assert submit(moment=PLANNING).returncode == -signal.SIGKILL
    assert not slurm.squeue()
    assert not {each.name for each in slurm_lab.root.glob("*")} & {"results", "state"}
    assert len(submitted(submit().stdout)) == 1
    slurm.wait_empty()
    assert [slurm_lab.causes(name) for name in ("a_1", "a_2")] == [["ok"], ["ok"]]


@pytest.mark.fault(
    BEFORE,
    "slurm_array",
    ends="done",
    attempts="ok",
    flow="completed",
    left="the array, which trains",
    rerun="submits nothing twice",
    breakage="the queue is not looked at",
)
def test_an_array_whose_submission_is_killed_when_slurm_has_it(slurm_lab, slurm, submit):
    """Between sbatch's answer and its own last word; the jobs are held until it is repeated."""
    held = script(slurm_lab, "--hold")
    killed = submit(*held, moment="training.jobs.submit:_next_commands:1")
    assert killed.returncode == -signal.SIGKILL
    (job,) = submitted(killed.stdout)
    again = submit(*held)
    assert (again.returncode, submitted(again.stdout)) == (0, []), again.stdout
    slurm.call("scontrol", "release", job)
    slurm.wait_empty()
    assert [slurm_lab.causes(name) for name in ("a_1", "a_2")] == [["ok"], ["ok"]]
    assert {len(slurm_lab.starts(name)) for name in ("a_1", "a_2")} == {1}
