"""Faults on this machine: each scene of one launch, and of one flow, has another."""

from __future__ import annotations

import re

import pytest

from tests.faults.batch import FLAGS, Batch, cells, memory_limit, run_batch, sitecustomize

STATE = re.compile(r"^(\w+) +(done|failed|held|running|not started) ", re.MULTILINE)


@pytest.fixture(scope="module")
def launched(make_lab):
    """The batch by `training/run.py`."""
    lab = make_lab()
    lab.environment["PYTHONPATH"] = sitecustomize(lab)

    def run():
        process = lab.popen(*FLAGS, "--workers", "5")
        procs.write_text(str(process.pid))
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in out + err, out + err
        states = dict(STATE.findall(out))
        report = (lab.root / "results/_experiments/exp/report.md").read_text()
        assert all(f"{name}: failed" in report for name, each in states.items() if each == "failed")
        told = {name: "completed" if each == "done" else "failed" for name, each in states.items()}
        return told, process.returncode

    with memory_limit(1000) as procs:
        return run_batch(lab, "exp", "launcher", run)


@pytest.mark.parametrize("scene", cells("launcher"))
def test_launcher(launched: Batch, scene: str):
    """Only the scene that has the fault is concerned."""
    launched.check(scene)


@pytest.fixture(scope="module")
def flown(make_lab, prefect_api):
    """The batch by a flow on Dask workers of this machine."""
    lab = make_lab()
    lab.environment["PYTHONPATH"] = sitecustomize(lab)
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    exp_name = "faults_here"
    flags = (*FLAGS, "--workers", "3", "--exp-name", exp_name)

    def run():
        process = lab.popen(*flags, program=("-m", "flows.train"))
        procs.write_text(str(process.pid))
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in out + err, out + err
        return prefect_api.scene_states(exp_name), process.returncode

    with memory_limit(1500) as procs:
        return run_batch(lab, exp_name, "local_flow", run)


@pytest.mark.parametrize("scene", cells("local_flow"))
@pytest.mark.long
def test_local_flow(flown: Batch, scene: str):
    """As by the launcher; Prefect's state of the scene's task run agrees with its record."""
    flown.check(scene)
