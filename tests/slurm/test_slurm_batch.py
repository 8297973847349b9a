"""Faults on Slurm: each scene of one flow, and of one array, has another."""

from __future__ import annotations

import re
from typing import Any

import pytest
from array_on_slurm import submitted
from flow_on_slurm import FLOW, script
from private_slurm import clear

from tests.faults.batch import FAULTS, FLAGS, Batch, cells, memory_limit, run_batch, sitecustomize

MEMORY_MB = 1000
TASK = re.compile(r"ArrayTaskId=(\d+) .*?JobState=(\w+)")


@pytest.fixture(scope="module")
def make_slurm_lab(make_lab, slurm):
    """Make a lab on Slurm whose script gives all jobs one limit of memory."""

    def make(procs):
        lab = make_lab()
        labs.append(lab)
        lab.environment |= slurm.environment
        lines = f"echo $$ > {procs}\nexport PYTHONPATH={sitecustomize(lab)}"
        lab.flags = (*FLAGS, *script(lab, lines=lines))
        return lab

    labs: list[Any] = []
    yield make
    for lab in labs:
        assert not clear(lab, slurm)


@pytest.fixture(scope="module")
def flown(make_slurm_lab, slurm, prefect_api):
    """The batch by a flow on Slurm."""
    exp_name = "faults_slurm"
    jobs = ("--slurm.scenes-per-job", "4", "--slurm.array-parallelism", "3")
    more = ("--cluster", "slurm", "--exp-name", exp_name, "--slurm.probe", "never", *jobs)

    def run():
        process = lab.popen(*lab.flags, *more, program=FLOW)
        out, err = process.communicate(timeout=240)
        assert "Traceback" not in out + err, out + err
        slurm.wait_empty()
        return prefect_api.scene_states(exp_name), process.returncode

    with memory_limit(MEMORY_MB) as procs:
        lab = make_slurm_lab(procs)
        lab.environment["PREFECT_API_URL"] = prefect_api.url
        return run_batch(lab, exp_name, "slurm_flow", run)


@pytest.mark.parametrize("scene", cells("slurm_flow"))
@pytest.mark.long
def test_slurm_flow(flown: Batch, scene: str):
    """The scene's task run ends as its record says; others of its job are not concerned."""
    flown.check(scene)


@pytest.fixture(scope="module")
def submitted_array(make_slurm_lab, slurm):
    """The batch by an array."""

    def run():
        result = lab.run("--submit", *lab.flags, "--slurm.array-parallelism", "5")
        (array,) = submitted(result.stdout)
        slurm.wait_empty(240)
        tasks = slurm.call("scontrol", "--oneliner", "show", "job", array)
        states = {f"{array}_{task}": state.lower() for task, state in TASK.findall(tasks)}
        there = [scene for scene in FAULTS if (lab.output(scene) / "run.json").exists()]
        jobs = {scene: lab.record(scene)["attempts"][-1]["slurm_job_id"] for scene in there}
        told = {scene: states.pop(job) for scene, job in jobs.items() if job in states}
        gone = set(FAULTS) - set(there)  # whose record is: one at most, of the task that is left
        return told | dict(zip(gone, states.values(), strict=True)), None

    with memory_limit(MEMORY_MB) as procs:
        lab = make_slurm_lab(procs)
        return run_batch(lab, "exp", "slurm_array", run)


@pytest.mark.parametrize("scene", cells("slurm_array"))
def test_slurm_array(submitted_array: Batch, scene: str):
    """The scene's job ends as its record says."""
    submitted_array.check(scene)
