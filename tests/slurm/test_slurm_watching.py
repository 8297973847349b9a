"""Slurm's word and watching on a real Slurm: what was submitted, looked at, ended from outside."""

from __future__ import annotations

import os
import pwd
import re
import signal

import psutil
import pytest
from flow_on_slurm import start

from training.jobs.job_cause import cause_of_job
from training.records.record import Cause
from training.slurm import client

DONE, FAILED, GOING_ON, INTERRUPTED = 0, 1, 3, 130
GENERATE = "run_mode=difix_data_generation_generate"
ME = pwd.getpwuid(os.getuid()).pw_name
HEADINGS = ("scene", "state", "cause", "attempt", "node", "job", "elapsed", "log")
NO_SCRIPT = '#!/bin/bash\n#SBATCH --time=10 --mem=50 --no-requeue\nexec "$@"\n'


@pytest.fixture
def users_lab(slurm_lab):
    """The lab with three scenes that wait until they are told to go on."""
    for name in "abc":
        slurm_lab.add_scene(name)
    return slurm_lab


@pytest.fixture
def on_slurm(slurm, monkeypatch):
    """This process' own calls go to the private Slurm."""
    use(slurm, monkeypatch)
    return slurm


def use(cluster, monkeypatch):
    for key, value in cluster.environment.items():
        monkeypatch.setenv(key, value)


def rows(out):
    """The table's cells by scene and heading."""
    lines = out.splitlines()
    starts = [lines[0].index(name) for name in HEADINGS]
    table = {}
    for line in lines[1 : lines.index("")]:
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        table[cells[0]] = dict(zip(HEADINGS, cells, strict=True))
    return table


def states(out):
    return {scene: row["state"] for scene, row in rows(out).items()}


def submit(lab, *flags, do="wait"):
    """The array's job id."""
    result = lab.run("--submit", "--run-all", *flags, "--overrides", GENERATE, f"do={do}")
    assert result.returncode == 0, result.stdout + result.stderr
    return re.search(r"submitted: array job (\d+)", result.stdout)[1]


def is_ready(lab, scene):
    return (lab.output(scene) / "ready.txt").exists()


def wait_ready(lab, eventually, *scenes):
    eventually(lambda: all(is_ready(lab, scene) for scene in scenes), f"{scenes} at work")


def test_status_shows_an_array_and_cancel_ends_it(users_lab, slurm, eventually):
    """Queued with Slurm's reason, running with node and job; then all ended by request."""
    array = submit(users_lab, "--slurm.array-parallelism", "1")
    wait_ready(users_lab, eventually, "a")
    seen = users_lab.run("--status")
    assert seen.returncode == GOING_ON, seen.stderr
    assert states(seen.stdout) == {"a": "running", "b": "queued", "c": "queued"}
    running, queued = rows(seen.stdout)["a"], rows(seen.stdout)["b"]
    assert (running["job"], running["node"] in slurm.nodes) == (f"{array}_0", True)
    assert (queued["job"], queued["cause"]) == (f"{array}_1", "JobArrayTaskLimit")
    assert "aggregate: PENDING (Dependency), job" in seen.stdout
    trainer = users_lab.record("a")["attempts"][0]["pid"]

    ended = users_lab.run("--cancel")
    assert (ended.returncode, ended.stderr) == (DONE, "")
    assert slurm.squeue() == []
    assert slurm.job(f"{array}_2")["JobState"] == "CANCELLED"
    assert not psutil.pid_exists(trainer)
    seen = users_lab.run("--status")
    assert states(seen.stdout) == {"a": "cancelled", "b": "not started", "c": "not started"}
    assert seen.returncode == FAILED
    assert users_lab.causes("a") == ["cancelled"]
    assert not users_lab.output("b").exists()


def test_a_task_cancelled_from_outside_is_settled_by_status(users_lab, slurm, eventually):
    """scancel by a person: its supervisor can't know why it is told to end, Slurm does."""
    array = submit(users_lab)
    wait_ready(users_lab, eventually, "a", "b", "c")
    slurm.call("scancel", f"{array}_1")
    eventually(lambda: f"{array}_1" not in str(slurm.squeue()), "the task's end")
    seen = users_lab.run("--status")
    assert states(seen.stdout) == {"a": "running", "b": "cancelled", "c": "running"}
    attempt = users_lab.record("b")["attempts"][-1]
    assert attempt["cause"] == "cancelled"
    assert all(part in attempt["message"] for part in (f"{array}_1", attempt["host"], "train.log"))


def test_a_killed_supervisor_is_settled_by_status(users_lab, slurm, eventually):
    """kill -9 of all that could write an end: no cause but a lost worker, and never running."""
    array = submit(users_lab, "--max-retries", "0")
    wait_ready(users_lab, eventually, "a", "b", "c")
    os.kill(users_lab.record("a")["attempts"][0]["pid"], signal.SIGKILL)
    eventually(lambda: f"{array}_0" not in str(slurm.squeue()), "the task's end")
    seen = users_lab.run("--status")
    assert rows(seen.stdout)["a"]["cause"] == "worker_lost"
    assert f"job {array}_0" in users_lab.record("a")["attempts"][-1]["message"]


def test_watch_goes_on_to_the_end_of_an_array(users_lab, eventually):
    """And then tells how it went, the aggregate's job included."""
    submit(users_lab)
    wait_ready(users_lab, eventually, "a", "b", "c")
    watch = users_lab.popen("--watch")
    eventually(watch.stdout.readline, "a table")
    for scene in "abc":
        (users_lab.output(scene) / "go.txt").touch()
    out = watch.stdout.read()
    assert watch.wait(timeout=60) == DONE
    assert "experiment exp, 3 scenes: 3 done" in out


def test_status_without_slurms_answer_shows_what_the_records_say(users_lab, slurm, eventually):
    """The controller is down for a while: nothing is called ended that may run."""
    submit(users_lab)
    wait_ready(users_lab, eventually, "a", "b", "c")
    slurm.stop_controller()
    seen = users_lab.run("--status")
    slurm.start_controller()
    assert seen.returncode == GOING_ON
    assert set(states(seen.stdout).values()) == {"running"}
    assert "Unable to contact slurm controller" in seen.stdout


def test_status_shows_a_flow_and_cancel_ends_it(flow_lab, slurm, eventually):
    """Its scene with job and node, its workers below; the flow itself ends, so that no job comes
    after."""
    for name in "abc":
        flow_lab.add_scene(name)
    flags = ("--slurm.array-parallelism", "1", "--overrides", "do=wait")
    flow = start(flow_lab, "exp", *flags)
    wait_ready(flow_lab, eventually, "a")
    seen = flow_lab.run("--status")
    assert states(seen.stdout) == {"a": "running", "b": "queued", "c": "queued"}
    row = rows(seen.stdout)["a"]
    assert f"worker: RUNNING, job {row['job']} on {row['node']}" in seen.stdout
    ended = flow_lab.run("--cancel")
    assert (ended.returncode, ended.stderr) == (DONE, "")
    assert slurm.squeue() == []
    assert flow.wait(timeout=60) == INTERRUPTED
    assert flow_lab.causes("a") == ["cancelled"]
    assert not flow_lab.output("b").exists()


def test_another_experiment_is_not_touched(users_lab, slurm, eventually):
    """Same scenes, same cluster, a name that begins alike."""
    submit(users_lab)
    wait_ready(users_lab, eventually, "a", "b", "c")
    flags = ("--submit", "--run-all", "--exp-name", "exp-2")
    users_lab.run(*flags, "--overrides", GENERATE, "do=hang")
    assert users_lab.run("--cancel", "--exp-name", "exp").returncode == DONE
    assert {job.name for job in slurm.squeue()} == {"exp-2", "exp-2_aggregate"}
    assert users_lab.run("--cancel", "--exp-name", "exp-2").returncode == DONE
    assert slurm.squeue() == []


class Jobs:
    """Small jobs of any kind, submitted through the client."""

    def __init__(self, folder):
        self.script = folder / "any job.slurm"
        self.script.write_text(NO_SCRIPT)
        self.output = f"--output={folder}/%x-%j.out"

    def command(self, *words, name="any_job", options=()):
        sbatch = ["sbatch", "--parsable", f"--job-name={name}", self.output, *options]
        return [*sbatch, str(self.script), *words]

    def submit(self, *words, **more):
        return client.submit(self.command(*words, **more))


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path)


def wait_for_ends(eventually, *job_ids):
    """All ends, once Slurm knows them."""

    def ends():
        found = client.job_ends(job_ids)
        return found if len(found) == len(job_ids) else None

    return eventually(ends, f"the ends of {job_ids}")


def in_queue(job_id):
    return next((job for job in client.my_jobs() if job.job_id == job_id), None)


def wait_running(eventually, job_id):
    def running():
        job = in_queue(job_id)
        return job if job and job.state == "RUNNING" else None

    return eventually(running, f"job {job_id} running")


@pytest.mark.usefixtures("slurm_lab", "on_slurm")
def test_jobs_are_found_again_by_what_they_do(jobs, eventually):
    """Names and paths with spaces; arrays once; a job that has ended too."""
    array = jobs.submit("sleep", "50", name="an array", options=["--array=0-3%2"])
    short = jobs.submit("true", name="short one")
    other = jobs.submit("sleep", "51", name="an array")
    eventually(lambda: in_queue(short) is None, "the short job's end")
    assert client._look_up(jobs.command("sleep", "50", name="an array")) == array
    assert client._look_up(jobs.command("true", name="short one")) == short
    assert client._look_up(jobs.command("sleep", "51", name="an array")) == other
    assert client._look_up(jobs.command("sleep", "5", name="an array")) is None
    mine = [job.job_id for job in client.my_jobs()]
    assert sorted(mine) == sorted([*(f"{array}_{i}" for i in range(4)), other])
    assert wait_running(eventually, other).command == f"{jobs.script} sleep 51"
    client.cancel([array, other, "999999"])
    eventually(lambda: not client.my_jobs(), "an empty queue")


@pytest.mark.usefixtures("slurm_lab")
def test_how_jobs_ended_without_accounting(on_slurm, jobs, eventually):
    """From job completion text and the controller: by exit, by request, by the loss of a node."""
    node, *others = on_slurm.nodes
    failed = jobs.submit("false", name="a b", options=[f"--exclude={node}"])
    array = jobs.submit("sleep", "50", options=["--array=0-1", f"--exclude={node}"])
    lost = jobs.submit("sleep", "52", options=[f"--exclude={','.join(others)}"])
    wait_running(eventually, f"{array}_1")
    wait_running(eventually, lost)
    client.cancel([f"{array}_0"])
    on_slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    ends = wait_for_ends(eventually, failed, f"{array}_0", lost)
    assert (ends[failed].state, ends[failed].exit_code) == ("FAILED", 1)
    assert cause_of_job(ends[f"{array}_0"])[0] is Cause.CANCELLED
    assert cause_of_job(ends[lost])[0] is Cause.NODE_FAILURE
    assert node in str(ends[lost])
    assert client.job_ends([f"{array}_1", "999999"]) == {}


@pytest.mark.usefixtures("slurm_lab")
def test_a_requeued_job_has_not_ended(on_slurm, jobs, eventually):
    """Lost with its node, queued again by Slurm: its former end is no end."""
    job_id = jobs.submit("sleep", "50", options=["--requeue"])
    node = wait_running(eventually, job_id).node
    on_slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    eventually(lambda: in_queue(job_id).state == "PENDING", "its second wait")
    assert client.job_ends([job_id]) == {}


@pytest.mark.usefixtures("slurm_lab", "on_slurm")
def test_a_job_that_no_node_can_hold_is_refused_before(jobs):
    """With Slurm's words and the directive, and nothing is submitted."""
    for option, directive in {"--partition=nope": "--partition", "--gres=foo:1": "--gres"}.items():
        command = jobs.command("true", options=[option])
        for ask in (client.test_only, client.submit):
            with pytest.raises(client.SlurmRefusedError, match=r"(?i)invalid") as caught:
                ask(command)
            assert caught.value.directive == directive
    client.test_only(jobs.command("true"))
    assert client.my_jobs() == []
    assert client.max_array_size() > 1


@pytest.mark.usefixtures("slurm_accounting_lab")
def test_accounting_names_who_cancelled(slurm_accounting, monkeypatch, jobs, eventually):
    """Where sacct is, it is asked; array tasks by the names that people type."""
    use(slurm_accounting, monkeypatch)
    array = jobs.submit("sleep", "50", options=["--array=0-2%2"])
    wait_running(eventually, f"{array}_1")
    client.cancel([f"{array}_1"])
    failed = jobs.submit("false")
    ends = wait_for_ends(eventually, failed, f"{array}_1")
    assert ends[failed].state == "FAILED"

    def told():  # the controller is quicker than its accounting, which alone names people
        return client.job_ends([f"{array}_1"])[f"{array}_1"].by_uid is not None

    eventually(told, "accounting")
    assert f"cancelled by user {ME}" in str(client.job_ends([f"{array}_1"])[f"{array}_1"])


def test_status_where_slurm_is_not_known(users_lab, tmp_path, eventually):
    """Another machine with the same disk but without Slurm's commands: the records alone."""
    submit(users_lab)
    wait_ready(users_lab, eventually, "a", "b", "c")
    path = users_lab.environment.get("PATH")
    users_lab.environment["PATH"] = str(tmp_path)
    seen = users_lab.run("--status")
    users_lab.environment["PATH"] = path or os.environ["PATH"]
    assert seen.returncode == GOING_ON
    assert set(states(seen.stdout).values()) == {"running"}
    assert "there is no squeue on PATH" in seen.stdout
