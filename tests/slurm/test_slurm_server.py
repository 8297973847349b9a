"""Faults of the Prefect server that a flow on Slurm brings, or is told of."""

from __future__ import annotations

import pytest
from flow_on_slurm import FLOW
from private_slurm import clear

from tests.faults.server import (
    Bereft,
    bereft_flows,
    cells,
    check_wrong_password,
    wrong_password,
)

pytestmark = pytest.mark.long
ON_SLURM = ("--cluster", "slurm", "--slurm.probe", "never", "--kill-grace", "1")


@pytest.fixture(scope="module")
def flows(make_lab, slurm):
    def make():
        lab = make_lab()
        lab.environment |= slurm.environment
        return lab

    def start(lab):
        return lab.popen(*ON_SLURM, "--run-all", "--slurm.array-parallelism", "1", program=FLOW)

    with bereft_flows(make, start) as made:
        yield made
        for each in made.values():
            assert not clear(each.lab, slurm)


@pytest.mark.parametrize("fault", cells("slurm_flow"))
def test_slurm_flow(flows: dict[str, Bereft], fault: str):
    """Jobs know nothing of Prefect; the run ends by its records."""
    flows[fault].check()
    assert "skipped, done" in flows[fault].lab.run("--run-all").stdout


@wrong_password("slurm_flow")
def test_a_wrong_password_and_a_slurm_flow(slurm_lab, slurm):
    """No job is submitted, either."""
    check_wrong_password(slurm_lab, *ON_SLURM)
    assert not slurm.squeue()
