"""One experiment for launcher, flows and arrays at the same time: each scene is trained once."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flow_on_slurm import FLOW, script
from private_slurm import clear

from tests.conftest import wait_for
from tests.faults.files import ended
from tests.faults.sites import LISTING_LAGS, site

pytestmark = pytest.mark.long

EXPERIMENT = ("--exp-name", "shared", "--time-limit", "0:05:00", "--kill-grace", "1")
ON_SLURM = ("--cluster", "slurm", "--slurm.probe", "never")
HOLDERS = {
    "launcher": "a_launcher",
    "local_flow": "b_local",
    "slurm_flow": "c_flow",
    "slurm_array": "d_array",
}
"""The scene that each way trains when the others come."""
WAYS = {
    "launcher": ((), ("training/run.py",)),
    "local_flow": ((), FLOW),
    "slurm_flow": (ON_SLURM, FLOW),
    "slurm_array": (("--submit",), ("training/run.py",)),
}
"""Flags and program."""


@dataclass
class Shared:
    """What each way said when it came second, and when listings lagged; and what was trained."""

    lab: Any
    slurm: Any
    second: dict[str, str] = field(default_factory=dict)
    lagging: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)

    def start(self, way: str, *flags: str) -> Any:
        own, program = WAYS[way]
        return self.lab.popen(*EXPERIMENT, *own, *flags, program=program)

    def let_all_go(self) -> None:
        for scene in HOLDERS.values():
            self.lab.let_go(scene, "shared")
        self.slurm.wait_empty(90)

    def check(self, scene: str) -> None:
        """Assert that the first run's scene was trained once, and is done."""
        record = self.lab.record(scene, "shared")
        assert [each["cause"] for each in record["attempts"]] == ["ok"]
        assert self.starts[scene] == 1


@pytest.fixture(scope="module")
def shared(make_lab, slurm, prefect_api):
    """Each way trains one scene; then each comes for all of them; then for one, with a lag."""
    lab = make_lab()
    lab.environment |= {**slurm.environment, "PREFECT_API_URL": prefect_api.url}
    made = Shared(lab, slurm)
    for scene in HOLDERS.values():
        lab.add_scene(scene, do="wait")
    flag = lab.root / "lag"
    flag.touch()  # what is newer is hidden
    first = {way: made.start(way, "--scene-name-includes", name) for way, name in HOLDERS.items()}
    for scene in HOLDERS.values():
        wait_for((lab.output(scene, "shared") / "ready.txt").exists, scene, 90)
    come_second(made)
    come_with_lag(made, flag)
    made.let_all_go()
    for way, process in first.items():
        made.ended[way] = "".join(process.communicate(timeout=90))
    files = {scene: lab.output(scene, "shared") / "starts.txt" for scene in HOLDERS.values()}
    made.starts = {scene: len(file.read_text().splitlines()) for scene, file in files.items()}
    yield made
    assert not clear(lab, slurm)


def come_second(made: Shared) -> None:
    """Start each way for all scenes, all of which others have."""
    second = {way: made.start(way, "--run-all") for way in WAYS if way != "launcher"}
    for way, process in second.items():
        made.second[way] = "".join(ended(process, 90))


def come_with_lag(made: Shared, flag: Any) -> None:
    """Start each way for the launcher's scene while its claim is in no listing that they get.

    The array comes when the others have gone: a flow on Slurm would find it in the queue.
    """
    started = _start_with_lag(made, flag, set(WAYS) - {"slurm_array"})
    for way, process in started.items():
        made.lagging[way] = "".join(ended(process, 60))
    flag.with_name("lag.aside").rename(flag)
    started = _start_with_lag(made, flag, {"slurm_array"})
    (job,) = re.findall(r"submitted: array job (\d+)", started["slurm_array"].communicate()[0])
    with contextlib.suppress(pytest.fail.Exception):  # the log of one that trains says so
        wait_for(lambda: made.slurm.job(job)["JobState"] not in {"RUNNING", "COMPLETING"}, "it")
    fields = made.slurm.job(job)
    made.lagging["slurm_array"] = f"{fields['JobState']} {Path(fields['StdOut']).read_text()}"


def _start_with_lag(made: Shared, flag: Any, ways: set[str]) -> dict[str, Any]:
    """Start ways that get no listing with the claim until each has tried to make its own."""
    lab = made.lab
    before = dict(lab.environment)
    own = {"PYTHONPATH": site(lab, LISTING_LAGS), "TS_TEST_LAG": str(flag)}
    scene = ("--scene-name-includes", HOLDERS["launcher"])
    started = {}
    for way in ways:
        mine = own | {"TS_TEST_WAY": way}
        exports = "\n".join(f"export {name}={value}" for name, value in mine.items())
        more = script(lab, lines=exports, name=way) if "slurm" in way else ()
        lab.environment = before | mine
        started[way] = made.start(way, *scene, *more)
    lab.environment = before
    tried = flag.with_name("lag.tried")
    wait_for(lambda: tried.exists() and ways <= set(tried.read_text().split()), "all", 90)
    flag.rename(flag.with_name("lag.aside"))
    return started


def words(way: str, fault: str, breakage: str) -> Any:
    """Return a cell in which a second run meets a first one that has the scene."""
    return pytest.mark.fault(
        fault,
        way,
        ends="done",
        attempts="ok",
        flow="held",
        left="nothing",
        rerun="skips it",
        breakage=breakage,
    )


CLAIM, QUEUE = "a claim that is held is free", "a job that has a scene is overlooked"
TWO, ARRAY, LAUNCHER = (
    "two flows have one experiment",
    "a flow and an array have one experiment",
    "a launcher has the experiment, too",
)
MEETINGS = [
    ("local_flow", "local_flow", TWO, CLAIM),
    ("local_flow", "slurm_array", ARRAY, CLAIM),
    ("local_flow", "launcher", LAUNCHER, CLAIM),
    ("slurm_flow", "slurm_flow", TWO, QUEUE),
    ("slurm_flow", "slurm_array", ARRAY, QUEUE),
    ("slurm_flow", "launcher", LAUNCHER, CLAIM),
    ("slurm_array", "slurm_flow", ARRAY, QUEUE),
    ("slurm_array", "launcher", LAUNCHER, CLAIM),
]
"""Who comes second, who has the scene, the fault, and the breakage."""


@pytest.mark.parametrize(
    ("way", "holder", "knows"),
    [
        pytest.param(
            way,
            holder,
            r"in Slurm job \d+" if breakage == QUEUE else r"being trained by process \d+",
            id=f"{way} {fault}",
            marks=words(way, fault, breakage),
        )
        for way, holder, fault, breakage in MEETINGS
    ],
)
def test_a_second_run_names_who_has_a_scene(shared, way, holder, knows):
    """And trains nothing of it; the first goes on to the scene's end."""
    scene = HOLDERS[holder]
    assert re.search(rf"{scene}.*{knows}", shared.second[way]), shared.second[way]
    shared.check(scene)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            way,
            id=way,
            marks=words(way, "a listing lags, as on NFS", "a claim replaces what it does not see"),
        )
        for way in WAYS
    ],
)
def test_a_claim_that_no_listing_shows_is_respected(shared, way):
    """link(2) finds it; what listings show is waited for.

    A sitecustomize hides the first run's claim from the listings of the second.
    """
    assert re.search(r"held|being trained by|has it", shared.lagging[way]), shared.lagging[way]
    shared.check(HOLDERS["launcher"])
