"""The private Slurm does what the other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from private_slurm import clear, down, layout, missing, processes, requirements, up
from private_slurm.daemons import SetupError

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent

TERM_PROOF = """#!/bin/sh
trap '' TERM
setsid sh -c 'trap "" TERM; echo $$ > {pids}; while :; do sleep 1; done' &
while :; do sleep 1; done
"""


@pytest.fixture
def folder(slurm):
    """A short path for a cluster of the test's own; `slurm` skips where there can be none."""
    del slurm
    with tempfile.TemporaryDirectory(prefix="s") as short:
        yield Path(short) / "own"
        down(Path(short) / "own")


@pytest.fixture
def submit(tmp_path):
    """Submit a shell script: `submit(cluster, text, *options)` returns the job's id."""

    def call(cluster, text, *options):
        script = tmp_path / f"job{len(list(tmp_path.iterdir()))}"
        script.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        where = [f"--output={tmp_path}/%j.out", "--open-mode=append", f"--chdir={tmp_path}"]
        return cluster.call("sbatch", "--parsable", *where, *options, str(script)).strip()

    return call


@pytest.fixture(scope="module")
def overdue(slurm, tmp_path_factory):
    """A job whose time ended a while ago: Slurm takes up to 30 s to look."""
    script = tmp_path_factory.mktemp("overdue") / "job"
    script.write_text("#!/bin/sh\nsleep 120\n")
    where = ["--output=/dev/null", "--time=10", f"--nodelist={slurm.nodes[0]}"]
    job = slurm.call("sbatch", "--parsable", *where, str(script)).strip()
    slurm.wait(lambda: slurm.job(job)["JobState"] == "RUNNING", "the overdue job", 20)
    slurm.walltime_now(job)
    return job


def state(cluster, job):
    return cluster.job(job)["JobState"]


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE), **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.usefixtures("overdue")
def test_a_job_gets_a_fake_gpu_of_its_own(slurm, submit, tmp_path, eventually):
    jobs = [
        submit(slurm, "echo $CUDA_VISIBLE_DEVICES; sleep 1", "--gres=gpu:1", "-w", slurm.nodes[1])
        for _ in range(2)
    ]
    eventually(lambda: all(state(slurm, job) == "COMPLETED" for job in jobs), "both jobs")
    assert {(tmp_path / f"{job}.out").read_text() for job in jobs} == {"0\n", "1\n"}


def test_squeue_has_a_row_for_each_task_of_an_array(slurm, submit, eventually):
    job = submit(
        slurm, "sleep 60", "--array=0-2%1", "--job-name=a b=c", "--nodelist", slurm.nodes[1]
    )

    def mine():
        return [row for row in slurm.squeue() if row.job_id.startswith(job)]

    eventually(lambda: "RUNNING" in {row.state for row in mine()}, "the first task")
    assert {row.job_id for row in mine()} == {f"{job}_{i}" for i in range(3)}
    assert {row.name for row in mine()} == {"a b=c"}
    assert slurm.job(f"{job}_0")["JobName"] == "a b=c"
    slurm.call("scancel", job)
    eventually(lambda: not mine(), "the array's end")


def test_scancel_kills_what_ignores_term_in_a_session_of_its_own(
    slurm, folder, submit, eventually, alive
):
    """With this machine's way to track processes (cgroups) and with the one that all have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "process_tracking", lambda: "pgid")
        clusters = [slurm, up(folder)]
    files = [folder.parent / str(i) for i in range(2)]
    texts = [TERM_PROOF.format(pids=file) for file in files]
    jobs = [submit(cluster, text) for cluster, text in zip(clusters, texts, strict=True)]
    eventually(lambda: all(file.exists() and file.read_text() for file in files), "both sessions")
    for cluster, job in zip(clusters, jobs, strict=True):
        cluster.call("scancel", job)
    for cluster, job, file in zip(clusters, jobs, files, strict=True):
        eventually(lambda c=cluster, j=job: j not in {row.job_id for row in c.squeue()}, "the end")
        assert not alive(int(file.read_text()))
        assert state(cluster, job) == "CANCELLED"


def test_a_crashed_node_fails_or_requeues_its_jobs(slurm, submit, tmp_path, eventually, alive):
    node = slurm.nodes[1]
    text = "echo $$; exec sleep 60"
    fails = submit(slurm, text, "--no-requeue", "--nodelist", node)
    again = submit(
        slurm, text, "--requeue", "--exclude", ",".join(slurm.nodes[2:] + slurm.nodes[:1])
    )
    log = tmp_path / f"{again}.out"
    pid = int(eventually(lambda: log.exists() and log.read_text(), "the job to be requeued"))
    eventually(lambda: state(slurm, fails) == "RUNNING", "the job to fail")
    slurm.crash_node(node)
    assert not alive(pid)
    eventually(lambda: state(slurm, fails) == "NODE_FAIL", "the failed job")
    slurm.revive(node)
    eventually(lambda: len(log.read_text().splitlines()) == 2, "the second start")
    assert slurm.job(again)["Restarts"] == "1"
    slurm.call("scancel", again)


def test_a_node_that_only_slurm_lost_runs_on(slurm, submit, tmp_path, eventually, alive):
    node = slurm.nodes[2]
    job = submit(slurm, "echo $$; exec sleep 60", "--no-requeue", "--nodelist", node)
    log = tmp_path / f"{job}.out"
    pid = int(eventually(lambda: log.exists() and log.read_text(), "the job"))
    slurm.crash_node(node, jobs_survive=True)
    eventually(lambda: state(slurm, job) == "NODE_FAIL", "Slurm's answer")
    assert alive(pid)
    slurm.heal()
    eventually(lambda: not alive(pid), "the node to end what Slurm has given up")


def test_a_process_that_a_test_leaves_is_named(folder, lab, submit):
    cluster = up(folder)
    submit(cluster, "sleep 60", "--begin=now+60")
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **lab.environment}) as stray:
        left = clear(lab, cluster, gone_s=0.2)
        stray.kill()
    assert len(left) == 1
    assert str(stray.pid) in left[0]
    assert not clear(lab, cluster, gone_s=0.2)
    assert not cluster.squeue()


def test_up_twice_is_one_cluster_and_down_leaves_nothing(folder, submit, tmp_path, eventually):
    mounts = mounts_of_clusters()
    arguments = ["-m", "private_slurm", "up", "--folder", str(folder)]
    first = command(*arguments)
    made = layout.load(folder)
    daemons = processes.daemons(made)
    second = command(*arguments)
    assert first.stdout == second.stdout == f"export SLURM_CONF={folder}/slurm.conf\n"
    assert sorted(processes.daemons(made)) == sorted(daemons)
    cluster = up(folder)
    pids = tmp_path / "pids"
    submit(cluster, TERM_PROOF.format(pids=pids))
    eventually(pids.exists, "the job")
    assert command("-m", "private_slurm", "down", "--folder", str(folder)).returncode == 0
    assert not processes.daemons(made)
    assert not processes.of_jobs(made.nodes)
    assert not processes.cgroups(made.nodes)
    assert not folder.exists()
    assert mounts_of_clusters() == mounts


def mounts_of_clusters() -> list[str]:
    """Return what is mounted, without the disks that other tests mount meanwhile."""
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line for line in lines if "pytest-" not in line]


def test_the_controller_stops_and_comes_back_with_its_jobs(folder, submit, eventually):
    cluster = up(folder)
    job = submit(cluster, "sleep 60")
    eventually(lambda: state(cluster, job) == "RUNNING", "the job")
    cluster.stop_controller()
    assert not processes.daemons(cluster.layout, "slurmctld")
    cluster.start_controller()
    assert state(cluster, job) == "RUNNING"


def test_the_cluster_of_a_killed_process_is_ended_by_the_next_call(folder, slurm, eventually):
    """Only those: `slurm` and the cluster in another folder stay."""
    text = f"from pathlib import Path; import os, private_slurm; \
private_slurm.up(Path({str(folder)!r}), owned=True); os.kill(os.getpid(), {signal.SIGKILL})"
    assert command("-c", text).returncode == -signal.SIGKILL
    made = layout.load(folder)
    assert len(processes.daemons(made)) == len(made.nodes) + 2
    assert not down(folder.parent / "another")
    assert not processes.daemons(made)
    assert not folder.exists()
    eventually(slurm.is_ready, "the nodes, one of which an earlier test has stopped")


def test_make_slurm_up_and_down(slurm):
    """In a temporary folder, so that the user's own cluster is left alone."""
    del slurm
    with tempfile.TemporaryDirectory(prefix="s") as short:
        environment = {**os.environ, "TMPDIR": short}
        make = ["make", "--silent", f"PYTHON={sys.executable}"]
        shared = {"cwd": CHECKOUT, "env": environment, "text": True, "timeout": 60}
        try:
            out = subprocess.check_output([*make, "slurm-up"], **shared)
            conf = out.removeprefix("export SLURM_CONF=").strip()
            own = {**environment, "SLURM_CONF": conf}
            sinfo = ["sinfo", "--noheader", "--Node", "--partition=gpu"]
            assert len(subprocess.check_output(sinfo, env=own).splitlines()) == 4
        finally:
            subprocess.run([*make, "slurm-down"], check=True, **shared)
        assert not list(Path(short).iterdir())


def test_the_jobs_time_can_be_ended_and_the_completion_text_says_so(slurm, overdue, eventually):
    eventually(lambda: state(slurm, overdue) == "TIMEOUT", "Slurm to look at the time")
    fields = ["--format=jobid,state", "--noheader", "--parsable2"]
    said = eventually(
        lambda: slurm.call("sacct", "--completion", *fields, f"--jobs={overdue}"), "the text"
    )
    assert said.strip() == f"{overdue}|TIMEOUT"


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(requirements, "PATH", "")
    line = missing(accounting=True)
    assert "\n" not in line
    assert "apt-get install -y --no-install-recommends slurm-wlm munge slurmdbd mariadb" in line


def test_not_root_is_said_in_one_line(monkeypatch):
    if requirements.missing_packages(accounting=False):
        monkeypatch.setattr(requirements, "missing_packages", lambda **_: [])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in missing(accounting=False)


@pytest.mark.parametrize(("ci", "status", "word"), [("", 0, "1 skipped"), ("true", 1, "1 error")])
def test_without_slurm_a_test_is_skipped_and_in_ci_it_fails(ci, status, word):
    one = f"{__file__}::test_a_job_gets_a_fake_gpu_of_its_own"
    text = f"import sys, pytest; from private_slurm import requirements; requirements.PATH = ''; \
sys.exit(pytest.main(['-p', 'no:cacheprovider', '-p', 'no:xdist', '-rs', {one!r}]))"
    done = command("-c", text, CI=ci)
    assert done.returncode == status
    assert word in done.stdout
    assert "apt-get install" in done.stdout


def test_a_path_that_slurm_can_not_use_is_refused(tmp_path):
    with pytest.raises(SetupError, match="set TMPDIR"):
        up(tmp_path / ("x" * 60))
