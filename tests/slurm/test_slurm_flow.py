"""`python -m flows.train --cluster slurm` as a user runs it, on a real Slurm with a real server.

The trainer is the stand-in; `do=…`, or `do` in a scene's file, says how it behaves.
"""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from array_on_slurm import GENERATE
from distributed.core import connect
from distributed.security import Security
from flow_on_slurm import (
    BOUND_S,
    attempts,
    causes,
    end,
    ended_jobs,
    is_ready,
    job_of,
    script,
    start,
)


class Sightings:
    """What squeue shows of the jobs of an experiment, several times a second."""

    def __init__(self, slurm: Any, exp_name: str) -> None:
        self.slurm, self.exp_name = slurm, exp_name
        self.samples: list[list[Any]] = []

    def look(self) -> None:
        own = [row for row in self.slurm.squeue() if row.name.startswith(f"{self.exp_name}-")]
        self.samples.append([row for row in own if row.state in {"RUNNING", "PENDING"}])

    def most(self, name: str, *states: str) -> int:
        """Return how many jobs of a name were in one of these states at once, at most."""
        of_name = [[row for row in sample if name in row.name] for sample in self.samples]
        return max(sum(row.state in states for row in sample) for sample in of_name)

    def jobs(self, name: str = "") -> dict[str, str]:
        """Return the jobs that were seen: names by id."""
        return {r.job_id: r.name for sample in self.samples for r in sample if name in r.name}


@contextmanager
def watching(slurm: Any, exp_name: str):
    sightings, over = Sightings(slurm, exp_name), threading.Event()

    def look() -> None:
        while not over.wait(0.15):
            sightings.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield sightings
    finally:
        over.set()
        thread.join()


def keys_of(lab: Any, exp_name: str) -> Path:
    """Return the folder of the flow's keys."""
    (folder,) = (lab.root / "state" / "dask").glob(f"{exp_name}-*")
    return folder


def can_connect(address: str, **arguments: Any) -> bool:
    async def attempt() -> None:
        comm = await connect(address, timeout=2, **arguments)
        await comm.close()

    try:
        asyncio.run(attempt())
    except (OSError, TimeoutError):
        return False
    return True


def listening(process: psutil.Process) -> list[tuple[str, int]]:
    found = process.net_connections(kind="tcp")
    return [tuple(each.laddr) for each in found if each.status == psutil.CONN_LISTEN]


def check_privacy(lab: Any, flow: Any, exp_name: str, job_id: str) -> None:
    """Check that only the owner can read the keys, and that nobody can connect without them."""
    folder = keys_of(lab, exp_name)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = [path for path in folder.iterdir() if "PRIVATE KEY" in path.read_text()]
    assert keys
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.pem")} == {0o600}
    address = json.loads((folder / "scheduler.json").read_text())["address"]
    scheme, host, port = address.replace("/", "").split(":")
    assert scheme == "tls"
    assert listening(psutil.Process(flow.pid)) == [(host, int(port))]
    workers = [p for p in lab.strays() if "flows.slurm.dask_worker" in p.cmdline()]
    (worker,) = [p for p in workers if p.environ()["SLURM_JOB_ID"] == job_id]
    assert [ip for ip, _ in listening(worker)] == [host]
    strangers = Security.temporary().get_connection_args("client")
    for _, own_port in [(host, port), *listening(worker)]:
        assert not can_connect(f"tcp://{host}:{own_port}")
        assert not can_connect(f"tls://{host}:{own_port}", **strangers)
    secrets = [path.read_text().split("\n")[1] for path in keys] + ["hush-hush"]
    trainers = (lab.output("a_0", exp_name) / "environment.json").read_text()
    job_script = lab.slurm.call("scontrol", "write", "batch_script", job_id, "-")
    logs = [path.read_text() for path in (lab.root / "state" / "slurm").rglob("*.out")]
    texts = [lab.slurm.job(job_id)["Command"], job_script, trainers, *logs]
    assert not [secret for secret in secrets for text in texts if secret in text]


def test_five_scenes_at_parallelism_two(flow_lab, slurm, prefect_api, eventually):
    """Never more than two jobs; the aggregate, a summary, has none, and edges from all scenes.

    Connections need the flow's keys, and after the flow nothing is left.
    """
    names = [f"a_{number}" for number in range(5)]
    for name in names:
        flow_lab.add_scene(name, do="wait" if name == "a_0" else "ok")
    flow = start(flow_lab, "five", "--slurm.array-parallelism", "2", aggregate=True)
    with watching(slurm, "five") as seen:
        eventually(lambda: is_ready(flow_lab, "five", "a_0"), "the trainer")
        eventually(lambda: len(seen.jobs("-w")) > 2, "the others")
        check_privacy(flow_lab, flow, "five", job_of(flow_lab, "five", "a_0"))
        flow_lab.let_go("a_0", "five")
        out = end(flow)
        eventually(lambda: not slurm.squeue(), "an empty queue", BOUND_S)
    assert "Completed, 5 of 5 scenes done" in out
    assert seen.most("-w", "RUNNING") == 2
    assert seen.most("-w", "RUNNING", "PENDING") == 2
    assert len(seen.jobs("-w")) == 5
    workers = {f"five-w{number}" for number in range(1, 6)}
    assert ended_jobs(slurm, "five") == {"five-probe", *workers}
    assert slurm.job(next(iter(seen.jobs("-w"))))["TresPerNode"] == "gres:gpu:1"
    run = prefect_api.only_run("five")
    runs = prefect_api.task_runs(run)
    assert set(runs) == {*names, "aggregate"}
    assert prefect_api.parents(run, "aggregate") == {runs[name]["id"] for name in names}
    rows = json.loads(prefect_api.artifacts(run)["scenes"])
    page = {row["scene"]: (row["state"], row["job"], row["node"]) for row in rows}
    logged = prefect_api.logs(run)
    for name in names:
        (attempt,) = attempts(flow_lab, "five", name)
        where = f"Slurm job {attempt['slurm_job_id']} on {attempt['host']}"
        assert attempt["host"] in slurm.nodes
        assert page[name] == ("done", attempt["slurm_job_id"], attempt["host"])
        assert [line for line in logged if line.startswith(f"{name}: started in {where}, log ")]
        assert seen.jobs()[attempt["slurm_job_id"]].startswith("five-w")
        log = flow_lab.output(name, "five") / "train.log"
        assert runs[name]["state"]["message"] == f"{where}, log {log}"
        assert where in out
        assert f"in Slurm job {attempt['slurm_job_id']}" in log.read_text()
    assert (flow_lab.root / "results/_experiments/five/report.md").exists()
    assert not list((flow_lab.root / "state" / "dask").iterdir())


def test_a_job_runs_several_scenes_in_as_many_times_the_time(flow_lab, slurm, eventually):
    """Three scenes, two a job, one at a time: two jobs, the second for the last scene alone."""
    for number in range(3):
        flow_lab.add_scene(f"a_{number}", do="wait" if number == 2 else "ok")
    flags = ("--slurm.scenes-per-job", "2", "--slurm.array-parallelism", "1", "--slurm.time", "60")
    flow = start(flow_lab, "two", *flags)
    eventually(lambda: is_ready(flow_lab, "two", "a_2"), "the last trainer")
    assert slurm.job(job_of(flow_lab, "two", "a_2"))["TimeLimit"] == "02:00:00"
    flow_lab.let_go("a_2", "two")
    end(flow)
    jobs = [job_of(flow_lab, "two", f"a_{number}") for number in range(3)]
    assert jobs[0] == jobs[1] != jobs[2]


def test_scenes_share_the_gpu_of_a_job_until_one_runs_out_of_memory(flow_lab, slurm):
    """Two in the first job, with the time of one; then one at a time, and all are done.

    Each has a log and a record of its own, and the report counts a GPU once.
    """
    names = [f"a_{number}" for number in range(3)]
    for name in names:
        flow_lab.add_scene(name, do="crowded")
    flags = ("--slurm.scenes-per-gpu", "2", "--slurm.array-parallelism", "2")
    with watching(slurm, "shared") as seen:
        out = end(start(flow_lab, "shared", *flags, aggregate=True))
    found = {name: causes(flow_lab, "shared", name) for name in names}
    ran_out = [name for name in names if found[name] == ["out_of_memory", "ok"]]
    assert 1 <= len(ran_out) <= 2
    assert all(found[name] == ["ok"] for name in names if name not in ran_out)
    first = {attempts(flow_lab, "shared", name)[0]["slurm_job_id"] for name in ("a_0", "a_1")}
    assert len(first) == 1, "one job for both"
    assert seen.most("-w", "RUNNING", "PENDING") == 1
    (message,) = {attempts(flow_lab, "shared", name)[0]["message"] for name in ran_out}
    assert message == "MemoryError (its GPU was for up to 2 scenes at once)"
    said = "ran out of memory beside up to 1 other scene on its GPU and is tried again alone"
    assert f"{ran_out[0]} {said}; what is left runs one at a time on a GPU" in out
    report = (flow_lab.root / "results/_experiments/shared/report.md").read_text()
    assert "several at once on a GPU" in report
    assert slurm.job(first.pop())["TimeLimit"] == "03:00:00"


@pytest.mark.fault(
    "the job is cancelled by a person",
    way="slurm_flow",
    ends="cancelled",
    attempts="cancelled",
    left="nothing",
    flow="failed",
    rerun="trains it",
    breakage="Slurm is not asked why a job ended",
)
@pytest.mark.fault(
    "the job is preempted",
    way="slurm_flow",
    ends="done",
    attempts="preempted, ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="Slurm is not asked why a job ended",
)
@pytest.mark.fault(
    "the job is out of walltime",
    way="slurm_flow",
    ends="done",
    attempts="timeout, ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="nothing is tried again",
)
@pytest.mark.fault(
    "the Dask worker is killed",
    way="slurm_flow",
    ends="done",
    attempts="worker_lost, ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="nothing is tried again",
)
@pytest.mark.fault(
    "the node is lost",
    way="slurm_flow",
    ends="done",
    attempts="node_failure, ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="Slurm is not asked why a job ended",
)
def test_each_fault_has_its_cause_and_its_retry(flow_lab, slurm, prefect_api, eventually):
    """A cancelled job, a dead node, Slurm's walltime, a killed worker and preemption.

    Each meets another scene: what nobody wished for starts again, elsewhere or from its
    checkpoint; a cancelled scene does not, and one that no fault meets runs once. Since one scene
    is not done, their data is not merged: no job is submitted for it. The same command then trains
    that scene alone, and merges.
    """
    dos = {"cancelled": "resume", "node": "resume", "walltime": "save_on_term", "worker": "resume"}
    for name, do in dos.items():
        flow_lab.add_scene(name, do=do)
    flow_lab.add_scene("x_preempted", do="resume")
    flow_lab.add_scene("z")
    flags = ("--slurm.array-parallelism", "4", *script(flow_lab, "--exclusive"))
    flags += ("--kill-grace", "10", "--aggregate-job-name", "faults_merge", "--overrides", GENERATE)
    flow = start(flow_lab, "faults", *flags, aggregate=True)
    eventually(lambda: is_ready(flow_lab, "faults", *dos), "four trainers")
    jobs = {name: job_of(flow_lab, "faults", name) for name in dos}
    slurm.walltime_now(jobs["walltime"])  # takes effect within 30 s
    slurm.call("scancel", jobs["cancelled"])
    slurm.crash_node(slurm.job(jobs["node"])["NodeList"])
    worker_of(flow_lab, jobs["worker"]).kill()
    eventually(lambda: is_ready(flow_lab, "faults", "x_preempted"), "the fifth trainer")
    urgent = slurm.preempt(job_of(flow_lab, "faults", "x_preempted"))
    out = end(flow, 1)
    slurm.call("scancel", urgent)
    expected = {
        "cancelled": ["cancelled"],
        "node": ["node_failure", "ok"],
        "walltime": ["timeout", "ok"],
        "worker": ["worker_lost", "ok"],
        "x_preempted": ["preempted", "ok"],
        "z": ["ok"],
    }
    assert {name: causes(flow_lab, "faults", name) for name in expected} == expected
    for name in ("node", "worker", "x_preempted"):
        first, second = attempts(flow_lab, "faults", name)
        assert first["slurm_job_id"] != second["slurm_job_id"]
    for name in ("node", "worker"):
        first, second = attempts(flow_lab, "faults", name)
        assert first["host"] != second["host"]
    assert "x_preempted failed (preempted)" in out
    assert "5 of 6 scenes done; not done: cancelled (cancelled)" in out
    run = prefect_api.only_run("faults")
    assert run["state"]["type"] == "FAILED"
    assert prefect_api.task_runs(run)["aggregate"]["state"]["name"] == "NotReady"
    assert not ended_jobs(slurm, "faults_merge")
    eventually(lambda: not slurm.squeue() and not flow_lab.strays(), "nothing left", BOUND_S)
    again = end(start(flow_lab, "faults", *flags, aggregate=True))
    assert "6 of 6 scenes done" in again
    expected["cancelled"].append("ok")
    assert {name: causes(flow_lab, "faults", name) for name in expected} == expected
    assert all(f"{name}: skipped, done" in again for name in expected if name != "cancelled")
    assert ended_jobs(slurm, "faults_merge")


def worker_of(lab: Any, job_id: str) -> psutil.Process:
    """Return the process of a job's Dask worker."""
    (found,) = [
        each
        for each in lab.strays()
        if "flows.slurm.dask_worker" in each.cmdline()
        and each.environ().get("SLURM_JOB_ID") == job_id
    ]
    return found
