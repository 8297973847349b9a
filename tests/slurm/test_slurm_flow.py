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
from distributed.core import connect
from distributed.security import Security
from flow_on_slurm import BOUND_S, attempts, causes, end, is_ready, job_of, script, start


class Sightings:
    """What squeue showed of the jobs of an experiment, several times a second."""

    def __init__(self, slurm: Any, exp_name: str) -> None:
        self.slurm, self.exp_name = slurm, exp_name
        self.samples: list[list[Any]] = []

    def look(self) -> None:
        own = [row for row in self.slurm.squeue() if row.name.startswith(f"{self.exp_name}-")]
        self.samples.append([row for row in own if row.state in {"RUNNING", "PENDING"}])

    def most(self, name: str, *states: str) -> int:
        """At most so many jobs of a name were in one of these states at once."""
        of_name = [[row for row in sample if name in row.name] for sample in self.samples]
        return max(sum(row.state in states for row in sample) for sample in of_name)

    def jobs(self, name: str = "") -> dict[str, str]:
        """Job names by id."""
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
    """The folder of the flow's keys."""
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
    """Keys are their owner's alone, and nobody without them can talk to scheduler or worker."""
    folder = keys_of(lab, exp_name)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = [path for path in folder.iterdir() if "PRIVATE KEY" in path.read_text()]
    assert keys
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.pem")} == {0o600}
    address = json.loads((folder / "scheduler.json").read_text())["address"]
    scheme, host, port = address.replace("/", "").split(":")
    assert scheme == "tls"
    assert listening(psutil.Process(flow.pid)) == [(host, int(port))]
    (worker,) = [p for p in lab.strays() if "flows.slurm.dask_worker" in p.cmdline()]
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


def test_eight_scenes_at_parallelism_two(flow_lab, slurm, prefect_api, eventually):
    """Never more than two jobs; edges into the aggregate, whose job is its own; nothing is open,
    nothing is left."""
    names = [f"a_{number}" for number in range(8)]
    for name in names:
        flow_lab.add_scene(name, do="wait" if name == "a_0" else "ok")
    flags = ("--slurm.array-parallelism", "2", "--aggregate-job-name", "eight-merge")
    flow = start(flow_lab, "eight", *flags, "--aggregate-time", "0:20:00")
    with watching(slurm, "eight") as seen:
        eventually(lambda: is_ready(flow_lab, "eight", "a_0"), "the trainer")
        eventually(lambda: len(seen.jobs("-w")) > 2, "the others")
        check_privacy(flow_lab, flow, "eight", job_of(flow_lab, "eight", "a_0"))
        (flow_lab.output("a_0", "eight") / "go.txt").touch()
        out = end(flow)
        eventually(lambda: not slurm.squeue(), "an empty queue", BOUND_S)
    assert "Completed, 8 of 8 scenes done" in out
    assert seen.most("-w", "RUNNING") == 2
    assert seen.most("-w", "RUNNING", "PENDING") == 2
    assert len(seen.jobs("-w")) == 8
    assert len(seen.jobs()) in {9, 10}  # the probe may be too quick to be seen
    ((aggregate, _),) = seen.jobs("merge").items()
    job = slurm.job(aggregate)
    assert (job["JobName"], job["TimeLimit"]) == ("eight-merge", "00:20:00")
    assert "TresPerNode" not in job
    assert slurm.job(next(iter(seen.jobs("-w"))))["TresPerNode"] == "gres:gpu:1"
    run = prefect_api.only_run("eight")
    runs = prefect_api.task_runs(run)
    assert set(runs) == {*names, "aggregate"}
    assert prefect_api.parents(run, "aggregate") == {runs[name]["id"] for name in names}
    rows = json.loads(prefect_api.artifacts(run)["scenes"])
    page = {row["scene"]: (row["state"], row["job"], row["node"]) for row in rows}
    logged = prefect_api.logs(run)
    for name in names:
        (attempt,) = attempts(flow_lab, "eight", name)
        where = f"Slurm job {attempt['slurm_job_id']} on {attempt['host']}"
        assert attempt["host"] in slurm.nodes
        assert page[name] == ("done", attempt["slurm_job_id"], attempt["host"])
        assert [line for line in logged if line.startswith(f"{name}: started in {where}, log ")]
        assert seen.jobs()[attempt["slurm_job_id"]].startswith("eight-w")
        log = flow_lab.output(name, "eight") / "train.log"
        assert runs[name]["state"]["message"] == f"{where}, log {log}"
        assert where in out
        assert f"in Slurm job {attempt['slurm_job_id']}" in log.read_text()
    assert f"Slurm job {aggregate} on" in runs["aggregate"]["state"]["message"]
    assert not list((flow_lab.root / "state" / "dask").iterdir())


def test_a_job_carries_several_scenes_in_as_many_times_the_time(flow_lab, slurm, eventually):
    """Four scenes, two a job, one at a time: two jobs, given back when nothing waits."""
    for number in range(4):
        flow_lab.add_scene(f"a_{number}", do="wait" if number == 3 else "ok")
    flags = ("--slurm.scenes-per-job", "2", "--slurm.array-parallelism", "1", "--slurm.time", "60")
    flow = start(flow_lab, "two", *flags)
    eventually(lambda: is_ready(flow_lab, "two", "a_3"), "the last trainer")
    assert slurm.job(job_of(flow_lab, "two", "a_3"))["TimeLimit"] == "02:00:00"
    (flow_lab.output("a_3", "two") / "go.txt").touch()
    end(flow)
    jobs = [job_of(flow_lab, "two", f"a_{number}") for number in range(4)]
    assert sorted(jobs.count(job) for job in set(jobs)) == [2, 2]


def test_each_fault_has_its_cause_and_its_retry(flow_lab, slurm, prefect_api, eventually):
    """A cancelled job, a dead node, Slurm's walltime, a killed worker, each under one of four
    scenes: what is nobody's wish starts again, elsewhere or from its checkpoint; others once."""
    dos = {"cancelled": "resume", "node": "resume", "walltime": "save_on_term", "worker": "resume"}
    for name, do in dos.items():
        flow_lab.add_scene(name, do=do)
    for name in ("z_1", "z_2"):
        flow_lab.add_scene(name)
    flags = ("--slurm.array-parallelism", "4", *script(flow_lab, "--exclusive"))
    flow = start(flow_lab, "faults", "--kill-grace", "10", *flags)
    eventually(lambda: is_ready(flow_lab, "faults", *dos), "four trainers")
    jobs = {name: job_of(flow_lab, "faults", name) for name in dos}
    slurm.walltime_now(jobs["walltime"])
    slurm.call("scancel", jobs["cancelled"])
    slurm.crash_node(slurm.job(jobs["node"])["NodeList"])
    (worker,) = [
        p for p in flow_lab.strays() if "flows.slurm.dask_worker" in p.cmdline() and is_of(p, jobs)
    ]
    worker.kill()
    out = end(flow, 1)
    assert causes(flow_lab, "faults", "cancelled") == ["cancelled"]
    assert causes(flow_lab, "faults", "node") == ["node_failure", "ok"]
    assert causes(flow_lab, "faults", "walltime") == ["timeout", "ok"]
    assert causes(flow_lab, "faults", "worker") == ["worker_lost", "ok"]
    assert causes(flow_lab, "faults", "z_1") == causes(flow_lab, "faults", "z_2") == ["ok"]
    for name in ("node", "worker"):
        first, second = attempts(flow_lab, "faults", name)
        assert first["host"] != second["host"]
    assert "5 of 6 scenes done; not done: cancelled (cancelled)" in out
    assert prefect_api.only_run("faults")["state"]["type"] == "FAILED"


def test_a_preempted_scene_starts_again_elsewhere(flow_lab, slurm, eventually):
    """More urgent people take its node: the cause is Slurm's, another job goes on."""
    flow_lab.add_scene("a", do="resume")
    flow = start(flow_lab, "preempted")
    eventually(lambda: is_ready(flow_lab, "preempted", "a"), "the trainer")
    urgent = slurm.preempt(job_of(flow_lab, "preempted", "a"))
    out = end(flow)
    slurm.call("scancel", urgent)
    assert causes(flow_lab, "preempted", "a") == ["preempted", "ok"]
    first, second = attempts(flow_lab, "preempted", "a")
    assert first["slurm_job_id"] != second["slurm_job_id"]
    assert "a failed (preempted)" in out


def is_of(process: psutil.Process, jobs: dict[str, str]) -> bool:
    return process.environ().get("SLURM_JOB_ID") == jobs["worker"]
