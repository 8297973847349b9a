"""Calls of Slurm's commands where a real Slurm can't be made to fail so: stand-ins on PATH."""

from __future__ import annotations

import os

import pytest

from training.slurm import client, parsers
from training.slurm.parsers import SEPARATOR

COMMAND = ["sbatch", "--parsable", "--job-name=my_job", "/x.slurm", "--in-job", "probe", "/p.json"]
CONFIG = "MaxArraySize            = 11\nAccountingStorageType   = accounting_storage/slurmdbd\n"
TIMED_OUT = (
    'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2'
    "; exit 1"
)


def queue_line(**given):
    """A line of squeue in the format that we ask for."""
    fields = dict.fromkeys(parsers.QUEUE_FIELDS, "") | given
    return "".join(f"{value}{SEPARATOR}" for value in fields.values())


class Stand:
    """Commands that do what a test says, and note how they were called."""

    def __init__(self, folder):
        self.folder = folder

    def put(self, name, script):
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$@" >> "{self.folder}/{name}.calls"\n{script}\n')
        path.chmod(0o755)

    def answer(self, name, text):
        (self.folder / f"{name}.answer").write_text(text)
        self.put(name, f'cat "{self.folder}/{name}.answer"')

    def calls(self, name):
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def stand(tmp_path, monkeypatch):
    """Slurm's commands, all in one folder that the path begins with."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    return Stand(tmp_path)


def submit(**more):
    return client.submit(COMMAND, pause_s=0.0, **more)


def test_a_job_that_was_taken_without_an_answer_is_not_submitted_again(stand):
    """It is found by its name, script and arguments, though it has ended already."""
    command = " ".join(COMMAND[3:])
    other = queue_line(JobArrayID="6", ArrayJobID="6", Name="my_job", Command=command + " 2")
    mine = queue_line(
        JobArrayID="7_0", ArrayJobID="7", Name="my_job", Command=command, State="COMPLETED"
    )
    stand.put("sbatch", TIMED_OUT)
    stand.answer("squeue", f"{other}\n{mine}\n")
    assert submit() == "7"
    assert len(stand.calls("sbatch")) == 1


def test_a_job_that_was_not_taken_is_submitted_again(stand):
    """One of another name with the same command is not it."""
    once = f'if [ -e "{stand.folder}/once" ]; then echo 8; else touch "{stand.folder}/once"; '
    stand.put("sbatch", f"{once}{TIMED_OUT}; fi")
    other = queue_line(ArrayJobID="7", Name="other", Command=" ".join(COMMAND[3:]))
    stand.answer("squeue", other + "\n")
    assert submit() == "8"
    assert len(stand.calls("sbatch")) == 2


def test_nothing_is_submitted_again_while_the_queue_is_not_known(stand):
    """The first may have been taken: as long as Slurm does not say, we wait, then give up."""
    stand.put("sbatch", TIMED_OUT)
    stand.put(
        "squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1'
    )
    with pytest.raises(client.SlurmAwayError, match="Unable to contact"):
        submit(attempts=3)
    assert len(stand.calls("sbatch")) == 1
    assert len(stand.calls("squeue")) == 2


def test_an_answer_without_a_job_id_is_none(stand):
    """A site's wrapper that says something else instead: looked up, not believed."""
    stand.put("sbatch", "echo thank you")
    stand.answer("squeue", "")
    with pytest.raises(client.SlurmAwayError, match="thank you"):
        submit(attempts=2)


def test_a_job_id_may_name_its_cluster_and_follow_a_sites_words(stand):
    """--parsable prints `12;cluster` on a federation."""
    stand.put("sbatch", "echo welcome; echo '12;east'")
    assert submit() == "12"


def test_a_refusal_is_final_and_names_the_directive(stand):
    """Slurm's own words, once."""
    stand.put(
        "sbatch", 'echo "sbatch: error: Batch job submission failed: Invalid qos" >&2; exit 1'
    )
    with pytest.raises(client.SlurmRefusedError, match=r"Invalid qos.*--qos") as caught:
        submit()
    assert caught.value.directive == "--qos"
    assert len(stand.calls("sbatch")) == 1
    with pytest.raises(client.SlurmRefusedError, match="Invalid qos"):
        client.test_only(COMMAND)
    assert stand.calls("sbatch")[1].startswith("--test-only --parsable")


def test_a_command_that_hangs_is_ended(stand, monkeypatch):
    """No unbounded wait: it counts as Slurm being away."""
    stand.put("squeue", "exec sleep 60")
    monkeypatch.setattr(client, "TIMEOUT_S", 0.3)
    with pytest.raises(client.SlurmAwayError, match="no answer within"):
        client.my_jobs()


def test_jobs_get_our_environment_without_what_changes_their_meaning(stand, monkeypatch):
    """Submitting from inside a job leaks nothing of it."""
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SQUEUE_FORMAT", "PREFECT_API_KEY", "MINE"):
        monkeypatch.setenv(name, "x")
    stand.put("sbatch", f'env > "{stand.folder}/env"; echo 1')
    submit()
    names = {line.partition("=")[0] for line in (stand.folder / "env").read_text().splitlines()}
    assert {"SLURM_CONF", "MINE"} <= names
    assert not names & {"SLURM_JOB_ID", "SBATCH_PARTITION", "SQUEUE_FORMAT", "PREFECT_API_KEY"}


def test_ends_come_from_accounting_with_one_question(stand):
    """For a thousand tasks of an array as for one."""
    stand.answer("scontrol", CONFIG)
    lines = [f"12_{i}|TIMEOUT|0:0|n1|2026-01-01T00:00:00|2026-01-01T00:00:09" for i in range(1000)]
    stand.answer("sacct", "\n".join(lines))
    ends = client.job_ends({f"12_{i}" for i in range(1000)})
    assert len(ends) == 1000
    assert ends["12_7"].state == "TIMEOUT"
    assert len(stand.calls("sacct")) == 1
    assert "--jobs=12 " in stand.calls("sacct")[0]
    assert not stand.calls("squeue")


@pytest.mark.parametrize("sacct", ["", "exit 1", "echo garbage", "kill -SEGV $$"])
def test_what_accounting_does_not_know_the_controller_may(stand, sacct):
    """Empty, failing, garbage: then what the controller has not forgotten, else not known yet."""
    stand.answer("scontrol", CONFIG)
    stand.put("sacct", sacct)
    lost = queue_line(JobArrayID="12", State="NODE_FAIL", exit_code="0")
    stand.answer("squeue", lost + "\n" + queue_line(JobArrayID="13", State="RUNNING"))
    ends = client.job_ends(["12", "13", "14"])
    assert {job_id: end.state for job_id, end in ends.items()} == {"12": "NODE_FAIL"}


def test_where_slurm_does_not_answer_no_end_is_known(stand):
    """Never an error, never a success."""
    for name in ("scontrol", "squeue"):
        stand.put(name, "exit 1")
    assert client.job_ends(["12"]) == {}


def test_a_job_that_was_started_again_has_not_ended(stand, tmp_path):
    """Job completion text tells its former end."""
    text = tmp_path / "jobs.txt"
    end = "UserId=me JobState=NODE_FAIL NodeList=n1 ExitCode=0:0\n"
    text.write_text(f"JobId=12 {end}JobId=13 {end}")
    stand.answer("scontrol", f"JobCompType = jobcomp/filetxt\nJobCompLoc = {text}\n")
    stand.answer("squeue", queue_line(JobArrayID="12", State="PENDING") + "\n")
    assert list(client.job_ends(["12", "13"])) == ["13"]


def test_ended_jobs_are_cancelled_without_complaint_with_one_request(stand):
    """What is gone already is what was wanted."""
    stand.put(
        "scancel", 'echo "scancel: error: Kill job error on job id 7: Invalid job id" >&2; exit 1'
    )
    client.cancel(["7", "8_3"])
    client.cancel([])
    assert stand.calls("scancel") == ["7 8_3"]
    stand.put("scancel", 'echo "scancel: error: Access/permission denied" >&2; exit 1')
    with pytest.raises(client.SlurmError, match="permission denied"):
        client.cancel(["7"])


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    """No command, or commands that find no configuration."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not client.is_installed()
    with pytest.raises(client.SlurmAbsentError, match="no squeue on PATH"):
        client.my_jobs()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    Stand(tmp_path).put(
        "squeue", 'echo "fatal: Could not establish a configuration source" >&2; exit 1'
    )
    with pytest.raises(client.SlurmAbsentError, match="configuration source"):
        client.my_jobs()


def test_the_sites_largest_array(stand):
    """Asked for once."""
    stand.answer("scontrol", CONFIG)
    assert [client.max_array_size(), client.max_array_size()] == [11, 11]
    assert len(stand.calls("scontrol")) == 1
