"""Faults of the Prefect server that a flow on this machine brings, or is told of."""

from __future__ import annotations

import pytest

from tests.faults.server import (
    BREAKAGES,
    Bereft,
    bereft_flows,
    cells,
    check_wrong_password,
    wrong_password,
)

FLOW = ("-m", "flows.train")
OTHERS = [fault for fault in BREAKAGES if fault != "the server is killed"]
"""Of that tests/flows/test_train.py has a test."""


@pytest.fixture(scope="module")
def flows(make_lab):
    def start(lab):
        return lab.popen("--run-all", "--workers", "1", program=FLOW)

    with bereft_flows(make_lab, start, OTHERS) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("fault", cells("local_flow", OTHERS))
def test_local_flow(flows: dict[str, Bereft], fault: str):
    """Scenes go on; the run ends by its records, within a minute of the last scene."""
    flows[fault].check()
    assert "skipped, done" in flows[fault].lab.run("--run-all").stdout


@wrong_password("local_flow")
def test_a_wrong_password_and_a_local_flow(lab):
    """The variable is named, nothing has begun."""
    check_wrong_password(lab)
