"""Calls of Slurm's commands in failures that a real Slurm can't be made to have: fakes on PATH."""

from __future__ import annotations

import os
from datetime import datetime

import pytest

from preprocess.roots import CHECKOUT
from training.slurm import client, parsers
from training.slurm.parsers import SEPARATOR

COMMAND = ["sbatch", "--parsable", "--job-name=my_job", "/x.slurm", "--in-job", "probe", "/p.json"]
CONFIG = "MaxArraySize            = 11\nAccountingStorageType   = accounting_storage/slurmdbd\n"
TIMED_OUT = (
    'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2'
    "; exit 1"
)


def queue_line(**given):
    """Return a line of squeue's output in the format that the client asks for."""
    fields = dict.fromkeys(parsers.QUEUE_FIELDS, "") | given
    return "".join(f"{value}{SEPARATOR}" for value in fields.values())


class FakeCommands:
    """Commands that do what a test says and log how they were called."""

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
def commands(tmp_path, monkeypatch):
    """Fakes of Slurm's commands, first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    return FakeCommands(tmp_path)


def submit(**more):
    return client.submit(COMMAND, pause_s=0.0, **more)


def test_a_job_that_slurm_took_without_answering_is_not_submitted_again(commands):
    """It is found by its name, script and arguments, even when it has ended already."""
    command = " ".join(COMMAND[3:])
    other = queue_line(JobArrayID="6", ArrayJobID="6", Name="my_job", Command=command + " 2")
    mine = queue_line(
        JobArrayID="7_0", ArrayJobID="7", Name="my_job", Command=command, State="COMPLETED"
    )
    commands.put("sbatch", TIMED_OUT)
    commands.answer("squeue", f"{other}\n{mine}\n")
    assert submit() == "7"
    assert len(commands.calls("sbatch")) == 1


def test_a_job_that_slurm_did_not_take_is_submitted_again(commands):
    """A job of another name with the same command is not mistaken for it."""
    once = f'if [ -e "{commands.folder}/once" ]; then echo 8; else touch "{commands.folder}/once"; '
    commands.put("sbatch", f"{once}{TIMED_OUT}; fi")
    other = queue_line(ArrayJobID="7", Name="other", Command=" ".join(COMMAND[3:]))
    commands.answer("squeue", other + "\n")
    assert submit() == "8"
    assert len(commands.calls("sbatch")) == 2


def test_nothing_is_submitted_again_while_the_queue_is_not_known(commands):
    """The first submission may have succeeded: without an answer the client gives up in the end."""
    commands.put("sbatch", TIMED_OUT)
    commands.put(
        "squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1'
    )
    with pytest.raises(client.SlurmAwayError, match="Unable to contact"):
        submit(attempts=3)
    assert len(commands.calls("sbatch")) == 1
    assert len(commands.calls("squeue")) == 2


def test_a_job_that_may_be_taken_is_not_refused_by_squeue(commands):
    """Whatever words squeue fails with, they say nothing about the job."""
    commands.put("sbatch", TIMED_OUT)
    commands.put("squeue", 'echo "squeue: error: internal error" >&2; exit 1')
    with pytest.raises(client.SlurmAwayError, match="internal error"):
        submit(attempts=2)
    assert len(commands.calls("sbatch")) == 1


def test_what_is_no_queue_is_no_empty_queue(commands):
    """Else jobs that run would count as gone and be submitted again; an empty one has a head."""
    commands.answer("squeue", "<html>\n<p>502 = Bad Gateway</p>\n")
    for ask in (client.my_jobs, lambda: client.jobs_of_id("12")):
        with pytest.raises(client.SlurmAwayError, match="no queue in its answer '<html>'"):
            ask()
    commands.answer("squeue", "welcome\n" + queue_line(JobArrayID="JOBID", State="STATE") + "\n")
    assert client.my_jobs() == []


def test_what_is_no_configuration_is_asked_for_again(commands):
    """Else a moment's answer would hide the site's accounting for as long as a flow runs."""
    commands.answer("scontrol", "<html>\n<p>502 = Bad Gateway</p>\n")
    with pytest.raises(client.SlurmAwayError, match="no configuration in its answer '<html>'"):
        client.max_array_size()
    commands.answer("scontrol", CONFIG)
    assert client.max_array_size() == 11


@pytest.mark.parametrize("scontrol", ["exit 1", "echo garbage"])
def test_squeue_alone_may_know_how_a_job_ended(commands, scontrol):
    """Where accounting and completion text can't be found."""
    commands.put("scontrol", scontrol)
    commands.answer("squeue", queue_line(JobArrayID="12", State="NODE_FAIL", exit_code="0") + "\n")
    assert client.job_ends(["12"])["12"].state == "NODE_FAIL"


def test_an_answer_without_a_job_id_is_not_believed(commands):
    """As of a site's wrapper of sbatch: the job is looked up in the queue instead."""
    commands.put("sbatch", "echo thank you")
    commands.answer("squeue", "")
    with pytest.raises(client.SlurmAwayError, match="thank you"):
        submit(attempts=2)


def test_a_job_id_may_name_its_cluster_and_follow_a_sites_words(commands):
    """--parsable prints `12;cluster` in a federation, and a site's wrapper may print a greeting."""
    commands.put("sbatch", "echo welcome; echo '12;east'")
    assert submit() == "12"


def test_a_refusal_is_final_and_names_the_directive(commands):
    """It is not tried again, and the error has Slurm's own message and the option to correct."""
    commands.put(
        "sbatch", 'echo "sbatch: error: Batch job submission failed: Invalid qos" >&2; exit 1'
    )
    with pytest.raises(client.SlurmRefusedError, match=r"Invalid qos.*--qos") as caught:
        submit()
    assert caught.value.directive == "--qos"
    assert len(commands.calls("sbatch")) == 1
    with pytest.raises(client.SlurmRefusedError, match="Invalid qos"):
        client.test_only(COMMAND)
    assert commands.calls("sbatch")[1].startswith("--test-only --parsable")


def test_a_command_that_hangs_is_ended(commands, monkeypatch):
    """Its time limit ends it, and it counts as Slurm not answering."""
    commands.put("squeue", "exec sleep 60")
    monkeypatch.setattr(client, "TIMEOUT_S", 0.3)
    with pytest.raises(client.SlurmAwayError, match="no answer within"):
        client.my_jobs()


def test_jobs_get_no_variable_that_changes_what_slurms_commands_do(commands, monkeypatch):
    """Submitting from inside a job passes nothing of that job on, nor Prefect's key."""
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SQUEUE_FORMAT", "PREFECT_API_KEY", "MINE"):
        monkeypatch.setenv(name, "x")
    commands.put("sbatch", f'env > "{commands.folder}/env"; echo 1')
    submit()
    names = {line.partition("=")[0] for line in (commands.folder / "env").read_text().splitlines()}
    assert {"SLURM_CONF", "MINE"} <= names
    assert not names & {"SLURM_JOB_ID", "SBATCH_PARTITION", "SQUEUE_FORMAT", "PREFECT_API_KEY"}


def test_scripts_find_the_checkout_where_they_were_submitted(commands, monkeypatch, tmp_path):
    """`cd "$SLURM_SUBMIT_DIR"` of a script leads there, wherever the launcher was started."""
    monkeypatch.chdir(tmp_path)
    commands.put("sbatch", f'pwd > "{commands.folder}/pwd"; echo 1')
    submit()
    assert (commands.folder / "pwd").read_text().strip() == str(CHECKOUT)


def test_srun_waits_for_the_first_of_several_tasks(commands):
    """The others step aside at once, and a site's WaitTime would end the first one then."""
    commands.put("sbatch", f'echo "$SLURM_WAIT" > "{commands.folder}/wait"; echo 1')
    submit()
    assert (commands.folder / "wait").read_text() == "0\n"


def test_ends_come_from_accounting_with_one_query(commands):
    """For the thousand tasks of an array as for one job."""
    commands.answer("scontrol", CONFIG)
    lines = [f"12_{i}|TIMEOUT|0:0|n1|2026-01-01T00:00:00|2026-01-01T00:00:09" for i in range(1000)]
    commands.answer("sacct", "\n".join(lines))
    ends = client.job_ends({f"12_{i}" for i in range(1000)})
    assert len(ends) == 1000
    assert ends["12_7"].state == "TIMEOUT"
    assert len(commands.calls("sacct")) == 1
    assert "--jobs=12 " in commands.calls("sacct")[0]
    assert not commands.calls("squeue")


@pytest.mark.parametrize("sacct", ["", "exit 1", "echo garbage", "kill -SEGV $$"])
def test_the_controller_is_asked_for_what_accounting_does_not_know(commands, sacct):
    """Accounting is empty, fails, prints garbage or crashes; unknown jobs are left out."""
    commands.answer("scontrol", CONFIG)
    commands.put("sacct", sacct)
    lost = queue_line(JobArrayID="12", State="NODE_FAIL", exit_code="0")
    commands.answer("squeue", lost + "\n" + queue_line(JobArrayID="13", State="RUNNING"))
    ends = client.job_ends(["12", "13", "14"])
    assert {job_id: end.state for job_id, end in ends.items()} == {"12": "NODE_FAIL"}


def test_where_slurm_does_not_answer_no_end_is_known(commands):
    """That is no error, and no job counts as ended."""
    for name in ("scontrol", "squeue"):
        commands.put(name, "exit 1")
    assert client.job_ends(["12"]) == {}


def test_a_job_that_was_started_again_has_not_ended(commands, tmp_path):
    """Though the job completion text has the end of its previous run."""
    text = tmp_path / "jobs.txt"
    end = "UserId=me JobState=NODE_FAIL NodeList=n1 ExitCode=0:0\n"
    text.write_text(f"JobId=12 {end}JobId=13 {end}")
    commands.answer("scontrol", f"JobCompType = jobcomp/filetxt\nJobCompLoc = {text}\n")
    commands.answer("squeue", queue_line(JobArrayID="12", State="PENDING") + "\n")
    assert list(client.job_ends(["12", "13"])) == ["13"]


@pytest.mark.parametrize("sacct", ["", "exit 1", "echo garbage"])
def test_a_previous_run_is_known_while_accounting_is_away(commands, tmp_path, sacct):
    """From the job completion text, where the site writes one, too."""
    text = tmp_path / "jobs.txt"
    times = "StartTime=2026-01-01T00:00:00 EndTime=2026-01-01T00:00:09"
    text.write_text(f"JobId=12 JobState=PREEMPTED NodeList=n1 ExitCode=0:0 {times}\n")
    commands.answer("scontrol", f"{CONFIG}JobCompType = jobcomp/filetxt\nJobCompLoc = {text}\n")
    commands.put("sacct", sacct)
    moment = datetime.fromisoformat("2026-01-01T00:00:05").astimezone()
    assert client.previous_run("12", moment).state == "PREEMPTED"


def test_ended_jobs_are_cancelled_without_complaint_with_one_request(commands):
    """Cancelling what has ended succeeds; other failures are errors."""
    commands.put(
        "scancel", 'echo "scancel: error: Kill job error on job id 7: Invalid job id" >&2; exit 1'
    )
    client.cancel(["7", "8_3"])
    client.cancel([])
    assert commands.calls("scancel") == ["7 8_3"]
    commands.put("scancel", 'echo "scancel: error: Access/permission denied" >&2; exit 1')
    with pytest.raises(client.SlurmError, match="permission denied"):
        client.cancel(["7"])


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    """Without the commands, and with commands that find no configuration."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not client.is_installed()
    with pytest.raises(client.SlurmAbsentError, match="no squeue on PATH"):
        client.my_jobs()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    FakeCommands(tmp_path).put(
        "squeue", 'echo "fatal: Could not establish a configuration source" >&2; exit 1'
    )
    with pytest.raises(client.SlurmAbsentError, match="configuration source"):
        client.my_jobs()


def test_the_sites_largest_array(commands):
    """MaxArraySize is read from the configuration, once a process."""
    commands.answer("scontrol", CONFIG)
    assert [client.max_array_size(), client.max_array_size()] == [11, 11]
    assert len(commands.calls("scontrol")) == 1
