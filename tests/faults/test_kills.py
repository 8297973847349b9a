"""kill -9 of the launcher and of a flow on this machine, in each phase; the same command again."""

from __future__ import annotations

import pytest

from tests.conftest import wait_for
from tests.faults.kills import (
    AGGREGATES,
    BEFORE,
    BETWEEN,
    GONE_S,
    PLANNING,
    PLANS,
    Killed,
    cells,
    kill_all,
)

FLAGS = ("--run-all", "--workers", "1", "--kill-grace", "1")


def gone(lab) -> list[str]:
    """Wait until no process of the lab is left."""
    wait_for(lambda: not lab.strays(), "the end of what was killed", GONE_S)
    return []


@pytest.fixture(scope="module")
def launched(make_lab):
    lab = make_lab()
    moments = {
        PLANS: PLANNING,
        BEFORE: "training.execution.local:run_plan:1",
        BETWEEN: "training.execution.local:_run_with_retries:2",
        AGGREGATES: "training.report.report_client:write_report_of:1",
    }

    def start(exp_name):
        return lab.popen(*FLAGS, "--exp-name", exp_name)

    return kill_all(lab, "launcher", moments, start, lambda: gone(lab))


@pytest.mark.parametrize(
    "fault", cells("launcher", aggregate={"breakage": "the launcher writes no report"})
)
def test_launcher(launched: dict[str, Killed], fault: str):
    """Nothing is left of it, and no scene is trained twice."""
    launched[fault].check()


@pytest.fixture(scope="module")
def flown(make_lab, prefect_api):
    lab = make_lab()
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    moments = {
        PLANS: PLANNING,
        BEFORE: "flows.runner.gpu_dispatch:local_runner:1",
        BETWEEN: "flows.runner.scene_events:SceneEvents._show_ended:1",
        AGGREGATES: "flows.runner.tasks:aggregate_experiment:1",
    }

    def start(exp_name):
        return lab.popen(*FLAGS, "--exp-name", exp_name, program=("-m", "flows.train"))

    return kill_all(lab, "local_flow", moments, start, lambda: gone(lab))


@pytest.mark.long
@pytest.mark.parametrize("fault", cells("local_flow"))
def test_local_flow(flown: dict[str, Killed], fault: str, prefect_api):
    """As the launcher; the run in Prefect has ended, too, also where nothing was left to train."""
    flown[fault].check()
    ends = [each["state_type"] for each in prefect_api.runs(flown[fault].exp_name)]
    assert sorted(ends) == (["COMPLETED"] if fault == PLANS else ["COMPLETED", "CRASHED"])
