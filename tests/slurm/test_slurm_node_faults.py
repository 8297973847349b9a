"""What happens to jobs and nodes from outside: a flow, and an array, that meet all of it at once.

Each fault meets another scene. The nodes hold one job each, so that two scenes wait in the queue.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import wait_for
from flow_on_slurm import causes, is_ready, job_of, script, start
from private_slurm import clear

from tests.faults.files import ended

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
WORKER_TTL_S = 30
"""After which Dask takes a frozen worker for lost, instead of five minutes."""
BOUND_S = 150
SCENES = [f"s_{number}" for number in range(6)]
"""Four have a node at first, whichever these are; two wait."""
ROLES = {
    "lost": "the node is lost to Slurm alone, and trains on",
    "requeued": "the job is requeued",
    "suspended": "the job is suspended and resumed",
    "frozen": "the Dask worker is frozen for minutes",
    "drained": "the node is drained",
    "held": "the job is held in the queue",
}
"""The fault that a scene meets, by what it is called here."""
BREAKAGES = {
    "lost": "a scene on a lost node is given up",
    "requeued": "nothing is tried again",
    "suspended": "a claim that is held is free",
    "frozen": "nothing is tried again",
    "drained": "a job that waits is not in the queue",
    "held": "a job that waits is not in the queue",
}
ATTEMPTS = {"requeued": "worker_lost, ok", "frozen": "worker_lost, ok"}


def cells(way: str, other: dict[str, dict[str, str]]) -> list[Any]:
    """Return a test's parameters: a role each, marked with its cell; `other` words by role."""
    found = []
    for role, fault in ROLES.items():
        words = {
            "ends": "done",
            "attempts": ATTEMPTS.get(role, "ok"),
            "flow": "completed",
            "left": "nothing",
            "rerun": "skips it",
            "breakage": BREAKAGES[role],
        }
        mark = pytest.mark.fault(fault, way, **words | other.get(role, {}))
        if way == "slurm_flow" or role != "frozen":
            found.append(pytest.param(role, id=fault, marks=mark))
    return found


@dataclass
class Outcome:
    """What came of all scenes."""

    lab: Any
    slurm: Any
    exp_name: str
    roles: dict[str, str] = field(default_factory=dict)
    """Scenes by role."""
    found: dict[str, list[str]] = field(default_factory=dict)
    """Causes in each scene's record."""
    starts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What did not come in time."""
    said: str = ""
    second: str = ""
    """What a launcher says that is given the suspended scene."""
    submitted_again: str = ""
    """What the same command says while the jobs wait."""
    said_again: str = ""
    left: list[str] = field(default_factory=list)
    lost_node: str = ""
    states: dict[str, str] = field(default_factory=dict)
    """Of a flow's task runs, by scene."""

    def wait(self, condition: Callable[[], object], what: str) -> bool:
        """Return whether a condition comes true in time; else it is a problem."""
        try:
            return bool(wait_for(condition, what, BOUND_S))
        except pytest.fail.Exception as late:
            self.problems.append(str(late))
            return False

    def output(self, role: str) -> Path:
        """Return the output folder of the scene that has a role."""
        return self.lab.output(self.roles[role], self.exp_name)

    def let_go(self, role: str) -> None:
        """Have a scene's trainer end well, this one or the next."""
        self.lab.let_go(self.roles[role], self.exp_name)

    def cast(self) -> None:
        """Wait until each node has a job, and two wait behind them; give the scenes their roles."""

        def is_there(name: str) -> bool:
            return is_ready(self.lab, self.exp_name, name)

        self.wait(lambda: sum(map(is_there, SCENES)) == len(self.slurm.nodes), "four trainers")
        self.wait(lambda: len(self.waiting()) == 2, "two more jobs")
        self.roles = dict(zip(ROLES, sorted(SCENES, key=is_there, reverse=True), strict=True))
        for role in ("drained", "held"):
            self.let_go(role)

    def waiting(self) -> list[str]:
        """Return the ids of the jobs that wait in the queue."""
        return sorted(row.job_id for row in self.slurm.squeue() if row.state == "PENDING")

    def job(self, role: str) -> str:
        """Return the id of the job that trains a scene."""
        return job_of(self.lab, self.exp_name, self.roles[role])

    def suspend_for_a_while(self) -> None:
        """Suspend a job; meanwhile another command wants its scene."""
        job_id, scene = self.job("suspended"), self.roles["suspended"]
        self.slurm.call("scontrol", "suspend", job_id)
        second = self.lab.popen("--exp-name", self.exp_name, "--scene-name-includes", scene)
        self.second = "".join(ended(second, 60))
        self.slurm.call("scontrol", "resume", job_id)
        self.let_go("suspended")

    def is_done(self, role: str) -> bool:
        """Return whether the record of a scene says that it is done."""
        return self.lab.record(self.roles[role], self.exp_name)["status"] == "done"

    def wait_for_nodes(self) -> None:
        """Resume the nodes, and wait until a job that had none has begun."""
        self.drain("resume")
        late = [self.output(role) / "run.json" for role in ("drained", "held")]
        self.wait(lambda: any(each.exists() for each in late), "a node again")
        if not late[0].exists():
            self.roles["drained"], self.roles["held"] = self.roles["held"], self.roles["drained"]

    def drain(self, state: str) -> None:
        """Drain all nodes, or resume those that are not lost."""
        nodes = [each for each in self.slurm.nodes if each != self.lost_node]
        self.slurm.call(
            "scontrol", "update", f"nodename={','.join(nodes)}", f"state={state}", "reason=test"
        )

    def lose_node(self) -> None:
        """Have Slurm lose the node of a scene, which trains on."""
        self.lost_node = self.slurm.job(self.job("lost"))["NodeList"]
        self.slurm.crash_node(self.lost_node, jobs_survive=True)

    def read(self) -> None:
        """Read the records and the trainers' own log, and what is still there."""
        self.wait(lambda: not self.slurm.squeue() and not self.lab.strays(), "nothing to be left")
        self.left = [str(each) for each in self.lab.strays()]
        for role, scene in self.roles.items():
            log = self.output(role) / "starts.txt"
            self.starts[role] = len(log.read_text().splitlines()) if log.exists() else 0
            if (self.output(role) / "run.json").exists():
                self.found[role] = causes(self.lab, self.exp_name, scene)

    def check(self, role: str) -> None:
        """Assert what the marker of a scene's cell says."""
        assert self.problems == []
        expected = ATTEMPTS.get(role, "ok").split(", ")
        assert self.found[role] == expected, self.said
        assert self.starts[role] == len(expected)
        assert self.left == []
        assert f"{self.roles['suspended']}: not run, being trained by process " in self.second


@pytest.fixture(scope="module")
def make_nodes_lab(make_lab: Any, slurm: Any) -> Iterator[Callable[[], Any]]:
    """Make labs on Slurm with the scenes, and a script that takes a whole node."""

    def make() -> Any:
        lab = make_lab()
        labs.append(lab)
        lab.environment |= slurm.environment
        for name in SCENES:
            lab.add_scene(name, do="wait")
        lab.flags = script(lab, "--exclusive")
        return lab

    labs: list[Any] = []
    yield make
    for lab in labs:
        assert not clear(lab, slurm)


@contextlib.contextmanager
def healed(slurm: Any) -> Iterator[None]:
    """Give Slurm its nodes back at the block's end."""
    try:
        yield
    finally:
        slurm.heal()


def workers_of(lab: Any, *job_ids: str) -> list[psutil.Process]:
    """Return the processes of jobs' Dask workers."""
    return [
        each
        for each in lab.strays()
        if "flows.slurm.dask_worker" in each.cmdline()
        and each.environ().get("SLURM_JOB_ID") in job_ids
    ]


@pytest.fixture(scope="module")
def flown(make_nodes_lab: Any, slurm: Any, prefect_api: Any) -> Outcome:
    lab = make_nodes_lab()
    with healed(slurm):
        return fly(lab, slurm, prefect_api)


def fly(lab: Any, slurm: Any, prefect_api: Any) -> Outcome:
    """Run a flow: two workers are frozen, the node of one of them is lost to Slurm as well.

    The flow ends the job of the other; by then it has found out that the one's scene trains on.
    """
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    lab.environment["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = f"{WORKER_TTL_S}s"
    flags = ("--slurm.array-parallelism", "6", "--slurm.probe", "never", *lab.flags)
    made = Outcome(lab, slurm, "nodes")
    flow = start(lab, "nodes", *flags)
    made.cast()
    held = made.waiting()[0]
    lost, frozen, requeued = map(made.job, ("lost", "frozen", "requeued"))
    slurm.call("scontrol", "hold", held)
    workers = workers_of(lab, lost, frozen)
    for worker in workers:
        worker.suspend()
    made.lose_node()
    made.drain("drain")
    slurm.call("scontrol", "update", f"jobid={requeued}", "requeue=1")
    slurm.call("scontrol", "requeue", requeued)
    made.suspend_for_a_while()
    made.let_go("requeued")
    made.wait(lambda: frozen not in {row.job_id for row in slurm.squeue()}, "the frozen job's end")
    made.let_go("frozen")
    made.wait(lambda: slurm.job(lost)["JobState"] != "RUNNING", "Slurm to miss the node")
    made.wait_for_nodes()  # by then the flow has looked at what is lost
    made.let_go("lost")
    made.wait(lambda: made.is_done("lost"), "the end of what trains on the lost node")
    for worker in workers:
        if worker.is_running():
            worker.resume()
    slurm.call("scontrol", "release", held)
    made.said = "".join(ended(flow, BOUND_S))
    made.read()
    made.states = prefect_api.scene_states("nodes")
    if flow.returncode != 0:
        made.problems.append(made.said)
    made.said_again = "".join(ended(start(lab, "nodes", *flags), BOUND_S))
    return made


@pytest.mark.parametrize("role", cells("slurm_flow", {}))
def test_a_flow_lives_through_faults_of_jobs_and_nodes(flown: Outcome, role: str):
    """Each scene is done; it is started again where its job was, and nowhere else.

    Dask takes a worker for lost after seconds here, instead of five minutes.
    """
    flown.check(role)
    assert flown.states[flown.roles[role]] == "completed"
    assert f"{flown.roles[role]}: skipped, done" in flown.said_again


@pytest.fixture(scope="module")
def array(make_nodes_lab: Any, slurm: Any) -> Outcome:
    lab = make_nodes_lab()
    with healed(slurm):
        return run_array(lab, slurm)


def run_array(lab: Any, slurm: Any) -> Outcome:
    """Run an array: Slurm starts the task of the lost node again while its scene trains."""
    made = Outcome(lab, slurm, "nodes_array")
    flags = ("--exp-name", "nodes_array", "--submit", "--run-all", *lab.flags)
    made.said = lab.run(*flags).stdout
    made.cast()
    held = made.waiting()[0]
    slurm.call("scontrol", "hold", held)
    made.lose_node()
    made.drain("drain")
    slurm.call("scontrol", "requeue", made.job("requeued"))
    made.suspend_for_a_while()
    made.let_go("requeued")
    made.submitted_again = lab.run(*flags).stdout
    (log,) = (lab.root / "state" / "slurm").glob(f"*/nodes_array-{made.job('lost')}.out")
    made.wait_for_nodes()
    made.wait(lambda: "held by" in log.read_text(), "the second run of the lost job")
    made.let_go("lost")
    made.wait(lambda: made.is_done("lost"), "the end of what trains on the lost node")
    slurm.call("scontrol", "release", held)
    made.let_go("frozen")
    made.read()
    made.said_again = lab.run(*flags).stdout
    return made


@pytest.mark.parametrize(
    "role",
    cells(
        "slurm_array",
        {
            "lost": {"breakage": "a claim that is held is free"},
            "requeued": {"breakage": "an array's task has one attempt"},
        },
    ),
)
def test_an_array_lives_through_faults_of_jobs_and_nodes(array: Outcome, role: str):
    """Each scene is done; it is started again where its job was, and nowhere else.

    A task that Slurm starts again since it has lost the node finds that the scene is trained there.
    """
    array.check(role)
    assert "nothing is left to submit" in array.submitted_again
    assert "nothing is left to submit" in array.said_again
