"""Faults of files and of the clock that the launcher and a flow on this machine meet."""

from __future__ import annotations

import pytest

from tests.faults.files import (
    JOURNEY,
    check_bad_record,
    check_journey,
    journey_cells,
    popen_without_rights,
    record_cells,
    travel,
)
from tests.faults.sites import clock

LAUNCHER, FLOW = ("training/run.py",), ("-m", "flows.train")


def run_launcher(lab, exp_name):
    return popen_without_rights(lab, "--exp-name", exp_name, program=LAUNCHER)


def run_flow(lab, exp_name):
    return popen_without_rights(lab, "--exp-name", exp_name, program=FLOW)


@pytest.fixture(scope="module")
def record_lab(make_lab):
    lab = make_lab()
    lab.add_scene("a_1")
    return lab


@pytest.mark.parametrize("fault", record_cells("launcher"))
def test_bad_record_and_launcher(record_lab, fault):
    """Unknown is never success: the file is named, nothing is started or changed."""
    check_bad_record(record_lab, fault, run_launcher)


@pytest.mark.long
@pytest.mark.parametrize("fault", record_cells("local_flow"))
def test_bad_record_and_local_flow(make_lab, prefect_api, fault):
    """As by the launcher."""
    lab = make_lab()
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    lab.add_scene("a_1")
    check_bad_record(lab, fault, run_flow)


def gone_through(make_lab, exp_name, program, **environment):
    """Run the scenes of a journey to its end."""
    lab = make_lab()
    clock_folder = lab.root / "clock"
    lab.environment |= {**environment, **clock(clock_folder)}
    for scene in JOURNEY:
        lab.add_scene(scene, do="wait")
    limit = ("--time-limit", "0:30:00", "--workers", "1", "--run-all", "--exp-name", exp_name)
    process = lab.popen(*limit, program=program)
    for _ in travel(lab, clock_folder, exp_name, process):
        pass
    out, err = process.communicate(timeout=90)
    del lab.environment["LD_PRELOAD"]
    again = lab.run(*limit)
    return process.returncode, again.returncode, lab, exp_name, out + err, again.stdout


@pytest.fixture(scope="module")
def launched(make_lab):
    return gone_through(make_lab, "journey_launcher", LAUNCHER)


@pytest.mark.parametrize("fault", journey_cells("launcher"))
def test_journey_of_the_launcher(launched, fault):
    """The clock is that of all processes of the run; time limits and claims do not follow it."""
    lab, exp_name, *told = launched[2:]
    check_journey(lab, exp_name, fault, *told)


def test_the_journey_of_the_launcher_ends_well(launched):
    assert launched[:2] == (0, 0)


@pytest.fixture(scope="module")
def flown(make_lab, prefect_api):
    return gone_through(make_lab, "journey_flow", FLOW, PREFECT_API_URL=prefect_api.url)


@pytest.mark.long
@pytest.mark.parametrize("fault", journey_cells("local_flow"))
def test_journey_of_a_local_flow(flown, fault):
    """Prefect's server keeps its own time."""
    lab, exp_name, *told = flown[2:]
    check_journey(lab, exp_name, fault, *told)


@pytest.mark.long
def test_the_journey_of_a_local_flow_ends_well(flown):
    assert flown[:2] == (0, 0)
