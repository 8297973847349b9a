"""`training.slurm.client` on a real Slurm: submitting, looking up, ends, refusals, accounting."""

from __future__ import annotations

import os
import pwd

import pytest
from flow_on_slurm import script

from training.jobs.job_cause import cause_of_job
from training.records.record import Cause
from training.slurm import client

ME = pwd.getpwuid(os.getuid()).pw_name
NO_SCRIPT = '#!/bin/bash\n#SBATCH --time=10 --mem=50 --no-requeue\nexec "$@"\n'


@pytest.fixture
def on_slurm(slurm, monkeypatch):
    """This process' own calls go to the private Slurm."""
    use(slurm, monkeypatch)
    return slurm


def use(cluster, monkeypatch):
    for key, value in cluster.environment.items():
        monkeypatch.setenv(key, value)


class Jobs:
    """Submits small jobs through the client."""

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
    """Return the ends of jobs once Slurm knows all of them."""

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
    """Lost with its node and requeued by Slurm: the end of its first run is not its end."""
    job_id = jobs.submit("sleep", "50", options=["--requeue"])
    node = wait_running(eventually, job_id).node
    on_slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    eventually(lambda: in_queue(job_id).state == "PENDING", "its second wait")
    assert client.job_ends([job_id]) == {}


@pytest.mark.usefixtures("slurm_lab", "on_slurm")
def test_a_job_that_no_node_can_hold_is_refused_before(jobs):
    """With Slurm's message and the directive, and nothing is submitted."""
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
    """Where there is accounting it is asked; array tasks have the ids that people type."""
    use(slurm_accounting, monkeypatch)
    array = jobs.submit("sleep", "50", options=["--array=0-2%2"])
    wait_running(eventually, f"{array}_1")
    client.cancel([f"{array}_1"])
    failed = jobs.submit("false")
    ends = wait_for_ends(eventually, failed, f"{array}_1")
    assert ends[failed].state == "FAILED"

    def is_known():  # the controller is quicker than accounting, which alone names people
        return client.job_ends([f"{array}_1"])[f"{array}_1"].by_uid is not None

    eventually(is_known, "accounting")
    assert f"cancelled by user {ME}" in str(client.job_ends([f"{array}_1"])[f"{array}_1"])


@pytest.mark.parametrize("directive", ["--account=nobody", "--qos=golden"])
def test_an_account_or_qos_that_is_not_there_is_refused(slurm_accounting_lab, directive):
    """Where accounting enforces them: Slurm's message, the option, the line; exit status 2."""
    slurm_accounting_lab.add_scene("a")
    flags = script(slurm_accounting_lab, directive)
    result = slurm_accounting_lab.run("--submit", "--run-all", *flags)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "nvalid" in result.stderr
    assert directive.partition("=")[0] in result.stderr
    assert f"{flags[1]}:3" in result.stderr
    assert not list((slurm_accounting_lab.root / "state").rglob("*.json"))
