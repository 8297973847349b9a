"""`python -m flows.train --loop`: one flow run of all stages, which a failure or a stop ends well.

That its graph shows what was made from what is tested where it runs in jobs, tests/slurm.
"""

from __future__ import annotations

import signal

import pytest
from loop_lab import (
    FLAGS,
    FLOW,
    forget,
    mark,
    order,
    run_loop,
)

TRAIN, TEST = "synthetic_pair01_a", "synthetic_pair02_a"


@pytest.fixture
def loop_lab(lab, prefect_api):
    """A lab whose flows report to the tests' server, with a scene of either kind."""
    for name in (TRAIN, TEST):
        lab.add_scene(name)
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    return lab


def test_a_failed_stage_is_named_by_the_flow_run_and_a_stop_ends_the_next(
    loop_lab, prefect_api, eventually
):
    """What needs it is not started, the rest is done; the same command then does what is left.

    Ctrl-C while that tunes the refiner: it ends as cancelled, so does the flow run, and no further
    stage is begun.
    """
    failing = mark(loop_lab, f"fail_chain_generate_{TRAIN}")
    result = run_loop(loop_lab, FLOW, "--exp-name", "chain")
    assert result.returncode == 1
    run = prefect_api.only_run("chain")
    assert run["state"]["type"] == "FAILED"
    message = run["state"]["message"]
    assert f"generate: 1 of 2 scenes done; not done: {TRAIN} (trainer_error)" in message
    assert "refiner: not started, generate is not done" in message
    assert "refined: not started, refiner is not done" in message
    assert "captured: 1 of 1 scene done" in message
    failing.unlink()
    forget(loop_lab)
    mark(loop_lab, "hang_refiner")
    flags = ("--exp-name", "chain", "--kill-grace", "1")
    process = loop_lab.popen(*FLAGS, *flags, program=FLOW, stand_in=False)
    eventually(lambda: "refiner" in order(loop_lab), "the refiner")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode == 130
    assert order(loop_lab) == [f"chain_generate_{TRAIN}", "aggregate", "refiner"]
    ends = {each["state"]["type"] for each in prefect_api.runs("chain")}
    assert ends == {"FAILED", "CANCELLED"}
