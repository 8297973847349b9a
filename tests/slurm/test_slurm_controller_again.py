"""A flow in a Slurm job of its own that is ended again and again: by its time, for a more urgent
job, by requeueing and by kill -9; as a single run, as a loop, and from Prefect's form.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import loop_lab
import psutil
import pytest
from conftest import CHECKOUT, STAND_IN, wait_for
from controller_on_slurm import let_go, record_of, runs, start, trains_in
from flow_on_slurm import end, is_ready
from prefect_database import put_migrated_database

from tests.faults.sites import KILL_IN, site

pytestmark = pytest.mark.long
NAMES = [f"a_{number}" for number in range(4)]
BEGUN = NAMES[:2]
LEFT_S = {"its time is over": 140, "its time is over at once": 2}
"""Until a controller's end: with its notice of two minutes, and too late for that, unless Slurm
happens to look within that time."""
PREEMPTED = "it is preempted for good"
LOOP_SCENES = (loop_lab.SCENES[0], loop_lab.SCENES[2])
KILL_THIRD_START = """
import glob, json, os
for path in glob.glob(os.path.join(os.environ.get("TS_STATE_ROOT", ""), "plans", "*.controller")):
    with open(path) as stream:
        is_third = len(json.load(stream)["starts"]) == 3
    if is_third:
"""
"""What follows acts in the third start of the lab's one controller alone."""


def controller_job(said: str) -> str:
    (job_id,) = re.findall(r"submitted: controller, Slurm job (\d+)", said)
    return job_id


@pytest.fixture
def preemption_ends(slurm) -> Iterator[None]:
    """Have Slurm end what it preempts, not requeue it."""
    mode = ("scontrol", "update", "PartitionName=gpu")
    slurm.call(*mode, "PreemptMode=CANCEL")
    yield
    slurm.call(*mode, "PreemptMode=REQUEUE")


def drain(slurm: Any, job_id: str) -> str:
    """Keep scenes off the controller's node; return the node."""
    node = slurm.job(job_id)["NodeList"]
    slurm.call("scontrol", "update", f"nodename={node}", "state=drain", "reason=no scene here")
    return node


def preempt(slurm: Any, job_id: str, node: str) -> str:
    """Preempt the controller on a node that has been drained; return the urgent job's id."""
    slurm.call("scontrol", "update", f"nodename={node}", "state=resume")
    return slurm.preempt(job_id)


@pytest.mark.usefixtures("preemption_ends")
@pytest.mark.parametrize("why", [*LEFT_S, PREEMPTED])
def test_a_controller_that_slurm_ends_goes_on_and_no_scene_is_started_twice(
    slurm_lab, slurm, eventually, why
):
    """With notice its job is queued again; one that Slurm ends without it has a successor.

    The last run's graph shows all scenes and the aggregate.
    """
    lab = slurm_lab
    put_migrated_database(lab.root / "prefect")
    for name in NAMES:
        lab.add_scene(name, do="wait")
    job_id = controller_job(end(start(lab, "--slurm.array-parallelism", "2")))
    node = drain(slurm, job_id)
    eventually(lambda: is_ready(lab, "exp", *BEGUN), "the trainers")
    urgent = preempt(slurm, job_id, node) if why == PREEMPTED else ""
    if not urgent:
        slurm.call("scontrol", "update", f"nodename={node}", "state=resume")
        slurm.walltime_now(job_id, LEFT_S[why])
    eventually(lambda: trains_in(lab, 2) == set(BEGUN), "adoption", 120)
    if urgent:
        slurm.call("scancel", urgent)
    first, second = (each.job_id for each in record_of(lab).starts)
    assert first == job_id
    if why != "its time is over at once":
        assert (first == second) is (why != PREEMPTED)
    shown = lab.run("--status").stdout
    assert f"Slurm job {second}, started again 1 time" in shown
    assert "without a flow" not in shown
    eventually(lambda: (let_go(lab, NAMES), record_of(lab).end)[1], "the end", 120)
    assert record_of(lab).exit_status == 0
    assert [len(lab.starts(name)) for name in NAMES] == [1] * len(NAMES)
    former, last = runs(lab)
    assert (former.state, set(former.tasks.values())) == ("CRASHED", {"CRASHED"})
    assert last == ("COMPLETED", dict.fromkeys([*NAMES, "aggregate"], "COMPLETED"), set(NAMES))
    assert "4 done" in lab.run("--status").stdout


def start_loop(lab: Any) -> Any:
    own = ["--controller", "job", "--cluster", "slurm", "--kill-grace", "1"]
    own += ["--slurm.array-parallelism", "2", "--slurm.probe", "never"]
    return lab.popen(*loop_lab.FLAGS, *own, program=loop_lab.FLOW, stand_in=False)


def test_a_loop_whose_controller_is_lost_in_two_stages_and_between_two(
    slurm_lab, slurm, eventually
):
    """Preempted in the first stage, requeued in the second, killed before the third begins.

    Everything is started once, in order, and no run of those that were lost is left as running.
    """
    lab = slurm_lab
    put_migrated_database(lab.root / "prefect")
    loop_lab.add_scenes(lab, LOOP_SCENES)
    trains, generates = (f"exp_{stage}_{LOOP_SCENES[1]}" for stage in ("train", "generate"))
    hanging = {each: loop_lab.mark(lab, f"hang_{each}") for each in (trains, generates)}
    lab.environment["PYTHONPATH"] = site(lab, KILL_THIRD_START + textwrap.indent(KILL_IN, " " * 8))
    lab.environment["TS_TEST_KILL_IN"] = "flows.flow:_run_stage:3"
    job_id = controller_job(end(start_loop(lab)))
    node = drain(slurm, job_id)
    eventually(lambda: trains in loop_lab.order(lab), "the first stage", 120)
    urgent = preempt(slurm, job_id, node)
    eventually(lambda: f"train: {LOOP_SCENES[1]}" in trains_in(lab, 2), "its adoption", 120)
    slurm.call("scancel", urgent)
    hanging[trains].unlink()
    eventually(lambda: generates in loop_lab.order(lab), "the second stage", 120)
    slurm.call("scontrol", "requeue", job_id)
    eventually(lambda: f"generate: {LOOP_SCENES[1]}" in trains_in(lab, 3), "its adoption", 120)
    hanging[generates].unlink()
    eventually(lambda: record_of(lab).end, "the end", 180)
    assert (record_of(lab).exit_status, len(record_of(lab).starts)) == (0, 4)
    assert {each.job_id for each in record_of(lab).starts} == {job_id}
    assert sorted(loop_lab.order(lab)) == sorted(loop_lab.order_of(LOOP_SCENES))
    assert [run.state for run in runs(lab)] == ["CRASHED"] * 3 + ["COMPLETED"]
    assert {state for run in runs(lab) for state in run.tasks.values()} == {"CRASHED", "COMPLETED"}
    report = lab.root / "results/_experiments/exp/report.md"
    assert "won of what captured views gain" in report.read_text()


@dataclass(frozen=True)
class SharedServer:
    """A lab's server, with a password, at an address that jobs reach."""

    settings: dict[str, str]
    client: Any

    def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self.client.request(method, path, json=body or None)
        return answer.raise_for_status().json()

    def runs(self) -> list[dict[str, Any]]:
        """Return all flow runs in order."""
        found = self.ask("POST", "/flow_runs/filter", sort="START_TIME_ASC")
        return sorted(found, key=lambda run: run["created"])

    def tasks(self, number: int) -> dict[str, str]:
        """Return the states of the task runs of the flow run of that number, from 1, by name."""
        ids = [run["id"] for run in self.runs()[number - 1 :][:1]]
        found = self.ask("POST", "/task_runs/filter", flow_runs={"id": {"any_": ids}})
        return {each["name"]: each["state_type"] for each in found} if ids else {}

    def answers(self) -> bool:
        import httpx

        try:
            return self.client.get("/health").status_code == 200
        except httpx.HTTPError:
            return False


def address_for_jobs() -> str:
    """Return an address of this machine that is not of it alone."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and not each.address.startswith("127."):
                return each.address
    pytest.skip("this machine has no address but its own")


@pytest.fixture
def shared_server(tmp_path) -> Iterator[SharedServer]:
    """Prefect's server as a lab runs it for all."""
    from flows.server.external_api import api_client

    host, password, home = address_for_jobs(), f"lab:{uuid4()}", tmp_path / "shared"
    put_migrated_database(home)
    with socket.create_server((host, 0)) as listening:
        port = str(listening.getsockname()[1])
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "0"}
    environment["PREFECT_SERVER_API_AUTH_STRING"] = password
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", port]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"http://{host}:{port}/api"
    settings = {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": password}
    made = SharedServer(settings, api_client(url, settings))
    try:
        wait_for(made.answers, "the server", 120)
        yield made
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.terminate()
        process.wait(timeout=30)


def served(lab: Any) -> Any:
    """Deploy the forms and start the process worker, as `make ui` does with a named server."""
    said = lab.root / "served.txt"
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.serve"],
        cwd=CHECKOUT,
        env={**os.environ, **lab.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=said.open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lab.started.append(process)
    wait_for(lambda: "Ctrl-C" in said.read_text() or process.poll() is not None, "the forms", 120)
    assert process.poll() is None, said.read_text()
    return process


def test_a_run_of_the_form_goes_on_in_a_job_that_is_requeued(
    slurm_lab, slurm, shared_server, eventually
):
    """What has served the form is gone by then. The form's run says which job has it."""
    lab, server = slurm_lab, shared_server
    lab.environment |= server.settings
    for name in NAMES:
        lab.add_scene(name, do="wait")
    form = served(lab)
    deployment = server.ask("GET", "/deployments/name/train-scenes/slurm")["id"]
    parameters = {"exp_name": "exp", "controller": "job", "cluster": "slurm", "run_all": True}
    parameters |= {"scenes_dir": str(lab.scenes_dir), "train_script": str(STAND_IN)}
    parameters |= {"kill_grace": 1, "slurm_array_parallelism": 2}
    path = f"/deployments/{deployment}/create_flow_run"
    server.ask("POST", path, parameters=parameters, state={"type": "SCHEDULED"})
    eventually(lambda: server.runs()[0]["state"]["name"] == "Submitted", "the job", 120)
    form.terminate()
    form.wait(timeout=60)
    eventually(lambda: is_ready(lab, "exp", *BEGUN), "the trainers")
    (job_id,) = (each.job_id for each in record_of(lab).starts)
    slurm.call("scontrol", "requeue", job_id)

    def adopted() -> bool:
        tasks = server.tasks(3)
        return all(tasks.get(name) == "RUNNING" for name in BEGUN)

    eventually(adopted, "adoption", 120)
    eventually(lambda: (let_go(lab, NAMES), record_of(lab).end)[1], "the end", 120)
    assert [len(lab.starts(name)) for name in NAMES] == [1] * len(NAMES)
    of_form, former, last = server.runs()
    assert f"Slurm job {job_id} trains" in of_form["state"]["message"]
    assert (former["state_type"], last["state_type"]) == ("CRASHED", "COMPLETED")
    assert last["id"] in former["state"]["message"]
    assert f"after:{former['id']}" in last["tags"]
    assert server.tasks(3) == dict.fromkeys([*NAMES, "aggregate"], "COMPLETED")
