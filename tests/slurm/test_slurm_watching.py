"""`--status`, `--watch` and `--cancel` on a real Slurm, also after ends from outside."""

from __future__ import annotations

import os
import re
import signal

import psutil
import pytest
from flow_on_slurm import script, start

DONE, FAILED, GOING_ON, INTERRUPTED = 0, 1, 3, 130
GENERATE = "run_mode=difix_data_generation_generate"


@pytest.fixture
def users_lab(slurm_lab):
    """A lab with three scenes."""
    for name in "abc":
        slurm_lab.add_scene(name)
    return slurm_lab


def rows(out):
    """Return the table's cells by scene and heading."""
    lines = out.splitlines()
    headings = re.split(r"  +", lines[0])
    starts = [lines[0].index(name) for name in headings]
    table = {}
    for line in lines[1 : lines.index("")]:
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        table[cells[0]] = dict(zip(headings, cells, strict=True))
    return table


def states(out):
    return {scene: row["state"] for scene, row in rows(out).items()}


def submit(lab, *flags, do="wait"):
    """Submit all scenes, which wait until the test lets them go on; return the array's job id."""
    result = lab.run("--submit", "--run-all", *flags, "--overrides", GENERATE, f"do={do}")
    assert result.returncode == 0, result.stdout + result.stderr
    return re.search(r"submitted: array job (\d+)", result.stdout)[1]


def is_ready(lab, scene):
    return (lab.output(scene) / "ready.txt").exists()


def wait_ready(lab, eventually, *scenes):
    eventually(lambda: all(is_ready(lab, scene) for scene in scenes), f"{scenes} at work")


def test_status_shows_an_array_and_cancel_ends_it(users_lab, slurm, eventually):
    """Queued with Slurm's reason, running with node and job; then everything ends on request."""
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
    assert ended.returncode == DONE, ended.stderr
    assert slurm.squeue() == []
    assert slurm.job(f"{array}_2")["JobState"] == "CANCELLED"
    assert not psutil.pid_exists(trainer)
    seen = users_lab.run("--status")
    assert states(seen.stdout) == {"a": "cancelled", "b": "not started", "c": "not started"}
    assert seen.returncode == FAILED
    assert users_lab.causes("a") == ["cancelled"]
    assert not users_lab.output("b").exists()


def test_status_reconciles_records_with_what_ended_from_outside(users_lab, slurm, eventually):
    """A person's scancel and a kill -9 of a supervisor: neither could write why it ended.

    Slurm says that the one was cancelled; of the other nothing is known but a lost worker.
    """
    array = submit(users_lab, "--max-retries", "0")
    wait_ready(users_lab, eventually, "a", "b", "c")
    slurm.call("scancel", f"{array}_1")
    os.kill(users_lab.record("a")["attempts"][0]["pid"], signal.SIGKILL)
    ended = {f"{array}_0", f"{array}_1"}
    eventually(lambda: not ended & {job.job_id for job in slurm.squeue()}, "the tasks' ends")
    seen = users_lab.run("--status")
    assert states(seen.stdout) == {"a": "failed", "b": "cancelled", "c": "running"}
    assert rows(seen.stdout)["a"]["cause"] == "worker_lost"
    assert f"job {array}_0" in users_lab.record("a")["attempts"][-1]["message"]
    attempt = users_lab.record("b")["attempts"][-1]
    assert attempt["cause"] == "cancelled"
    assert all(part in attempt["message"] for part in (f"{array}_1", attempt["host"], "train.log"))


def test_watch_goes_on_to_the_end_of_an_array(users_lab, eventually):
    """Its last line counts what is done, once the aggregate's job has ended too."""
    submit(users_lab)
    wait_ready(users_lab, eventually, "a", "b", "c")
    watch = users_lab.popen("--watch")
    eventually(watch.stdout.readline, "a table")
    for scene in "abc":
        users_lab.let_go(scene)
    out = watch.stdout.read()
    assert watch.wait(timeout=60) == DONE
    assert "experiment exp, 3 scenes: 3 done" in out


def test_status_without_slurm_shows_what_the_records_say(users_lab, slurm, tmp_path, eventually):
    """On another machine with the same disk but no Slurm, and while the controller is away.

    Nothing that may run is said to have ended.
    """
    submit(users_lab)
    wait_ready(users_lab, eventually, "a", "b", "c")
    path = users_lab.environment.get("PATH", os.environ["PATH"])
    users_lab.environment["PATH"] = str(tmp_path)
    elsewhere = users_lab.run("--status")
    users_lab.environment["PATH"] = path
    slurm.stop_controller()
    away = users_lab.run("--status")
    slurm.start_controller()
    for seen, why in [
        (elsewhere, "there is no squeue on PATH"),
        (away, "Unable to contact slurm controller"),
    ]:
        assert seen.returncode == GOING_ON
        assert set(states(seen.stdout).values()) == {"running"}
        assert why in seen.stdout


def test_status_shows_a_flow_and_cancel_ends_it(flow_lab, slurm, eventually):
    """Its scene with job and node, its workers below; the flow ends too, so that no job follows."""
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
    assert ended.returncode == DONE, ended.stderr
    assert slurm.squeue() == []
    assert flow.wait(timeout=60) == INTERRUPTED
    assert flow_lab.causes("a") == ["cancelled"]
    assert not flow_lab.output("b").exists()


def test_another_experiment_is_not_touched(users_lab, slurm):
    """Of the same scenes on the same cluster, with a name that begins alike; all jobs queued."""
    later = script(users_lab, "--begin=now+1hour")
    for exp_name in ("exp", "exp-2"):
        submit(users_lab, "--exp-name", exp_name, *later)
    assert users_lab.run("--cancel", "--exp-name", "exp").returncode == DONE
    assert {job.name for job in slurm.squeue()} == {"exp-2", "exp-2_aggregate"}
    assert users_lab.run("--cancel", "--exp-name", "exp-2").returncode == DONE
    assert slurm.squeue() == []
