"""Faults of files and of the clock that a flow on Slurm and an array meet."""

from __future__ import annotations

import pytest
from array_on_slurm import submitted
from flow_on_slurm import FLOW, script
from private_slurm import clear

from tests.conftest import wait_for
from tests.faults.files import (
    JOURNEY,
    JUMPS,
    PLAN_GONE,
    check_bad_record,
    check_journey,
    ended,
    journey_cells,
    popen_without_rights,
    record_cells,
    travel,
)
from tests.faults.sites import clock

pytestmark = pytest.mark.long

LAUNCHER = ("training/run.py",)
FORWARD, BACK = JUMPS
NEXT = dict(zip((FORWARD, BACK, PLAN_GONE), JOURNEY[1:], strict=True))
"""The scene whose job starts after a fault."""
ON_SLURM = ("--cluster", "slurm", "--slurm.probe", "never")


@pytest.fixture(scope="module")
def make_slurm_lab(make_lab, slurm, prefect_api):
    labs = []

    def make():
        lab = make_lab()
        lab.environment |= {**slurm.environment, "PREFECT_API_URL": prefect_api.url}
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        assert not clear(lab, slurm)


def run_flow(lab, exp_name):
    return popen_without_rights(lab, *ON_SLURM, "--exp-name", exp_name, program=FLOW)


def submit(lab, exp_name):
    return popen_without_rights(lab, "--submit", "--exp-name", exp_name, program=LAUNCHER)


@pytest.fixture(scope="module")
def record_lab(make_slurm_lab):
    lab = make_slurm_lab()
    lab.add_scene("a_1")
    return lab


@pytest.mark.parametrize("fault", record_cells("slurm_flow"))
def test_bad_record_and_slurm_flow(make_slurm_lab, fault):
    """The file is named, nothing is submitted or changed."""
    lab = make_slurm_lab()
    lab.add_scene("a_1")
    check_bad_record(lab, fault, run_flow)


@pytest.mark.parametrize("fault", record_cells("slurm_array"))
def test_bad_record_and_slurm_array(record_lab, fault):
    """As by the flow."""
    check_bad_record(record_lab, fault, submit)


@pytest.fixture(scope="module")
def travellers(make_slurm_lab):
    """Make a lab whose processes, in jobs too, have a clock that can be set."""

    def make(exp_name, *flags, program):
        lab = make_slurm_lab()
        folder = lab.root / "clock"
        own = clock(folder)
        exports = "\n".join(f"export {name}={value}" for name, value in own.items())
        for scene in JOURNEY:
            lab.add_scene(scene, do="wait")
        one = ("--slurm.array-parallelism", "1", "--run-all", "--exp-name", exp_name)
        limit = ("--time-limit", "0:30:00", "--kill-grace", "1")
        more = (*one, *limit, *script(lab, "--time=0:50:00", lines=exports))
        return lab, folder, lab.popen(*flags, *more, program=program), (*flags, *more)

    return make


@pytest.fixture(scope="module")
def flown(travellers):
    exp_name = "journey_slurm_flow"
    # Each scene has a job of its own, which reads the plan's file when it starts.
    own_jobs = ("--slurm.scenes-per-job", "1")
    lab, folder, process, flags = travellers(exp_name, *ON_SLURM, *own_jobs, program=FLOW)
    begun = list(travel(lab, folder, exp_name, process))
    out, err = ended(process, 90)
    again = lab.run(*flags, program=FLOW)
    ends = process.returncode, again.returncode
    return ends, begun, lab, exp_name, out + err, again.stdout


@pytest.mark.parametrize(
    "fault",
    journey_cells(
        "slurm_flow",
        **{
            BACK: "certificates are valid from now on",
            PLAN_GONE: "a flow on Slurm needs the plan that it wrote",
        },
    ),
)
def test_journey_of_a_slurm_flow(flown, fault):
    """The clock is that of the nodes: the flow keeps its own, as does Slurm.

    A job that starts while its node's clock is an hour behind can speak TLS with the flow.
    """
    _, begun, lab, exp_name, *told = flown
    check_journey(lab, exp_name, fault, *told)
    assert NEXT[fault] in begun


def test_the_journey_of_a_slurm_flow_ends_well(flown):
    assert flown[0] == (0, 0)


@pytest.fixture(scope="module")
def array(travellers, slurm):
    exp_name = "journey_array"
    lab, folder, process, flags = travellers(exp_name, "--submit", program=LAUNCHER)
    out, err = process.communicate(timeout=90)
    for scene in travel(lab, folder, exp_name):
        if scene == "a_3":
            break
    (folder / "behind").unlink()
    lab.let_go("a_3", exp_name)
    slurm.wait_empty(90)
    (job,) = submitted(out)
    without_plan = slurm.call("scontrol", "show", "job", f"{job}_3")
    assert len(submitted(lab.run(*flags).stdout)) == 1
    wait_for((lab.output("a_4", exp_name) / "ready.txt").exists, "the trainer", 90)
    lab.let_go("a_4", exp_name)
    slurm.wait_empty(90)
    return lab, exp_name, without_plan, out + err, lab.run(*flags).stdout


@pytest.mark.parametrize("fault", journey_cells("slurm_array", **{PLAN_GONE: ""}))
def test_journey_of_an_array(array, fault):
    """The clock is that of the nodes."""
    lab, exp_name, _, *told = array
    check_journey(lab, exp_name, fault, *told)


@pytest.mark.fault(
    PLAN_GONE,
    "slurm_array",
    ends="done; those not begun stay so",
    attempts="ok",
    flow="failed",
    left="nothing",
    rerun="trains what had not begun",
    breakage="a plan that is gone is no failure",
)
def test_an_array_whose_plan_is_deleted(array):
    """What trains goes on; jobs that start later can't know what to do, and fail with the file."""
    lab, exp_name, without_plan, *_ = array
    assert "JobState=FAILED" in without_plan
    causes = [each["cause"] for each in lab.record("a_3", exp_name)["attempts"]]
    assert causes == ["ok"]
    assert [each["cause"] for each in lab.record("a_4", exp_name)["attempts"]][-1] == "ok"
    assert len((lab.output("a_4", exp_name) / "starts.txt").read_text().splitlines()) == 1
