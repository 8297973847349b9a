"""A folder has one owner at a time, also when holders die, race, or run on another host."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from training.records import claim
from training.records.claim import ClaimHeldError, EndedJob, Holder, acquire, claimed, holder_of
from training.records.record import RecordError
from training.slurm import running_job
from training.slurm.client import SlurmAwayError
from training.system.claim_file import ClaimLostError
from training.system.processes import ProcessId, process_id


def place_claim(output, number=1, age_s=0.0, pid=None, job="42", **process):
    """Write a claim as another process would have, `age_s` seconds ago."""
    folder = output / claim.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    me = vars(process_id(pid or os.getpid()))
    holder = {"process": {**me, **process}, "launcher": {**me, **process}}
    path = folder / f"{number:06d}.json"
    path.write_text(json.dumps({**holder, "since": "then", "slurm_job_id": job}))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_a_held_claim_names_its_holder(tmp_path):
    """A second process learns the holder's process, host and start."""
    acquire(tmp_path, os.getpid())
    with pytest.raises(ClaimHeldError, match=f"process {os.getpid()} on {socket.gethostname()}"):
        acquire(tmp_path, os.getpid())


def test_a_released_claim_can_be_taken_again_under_a_new_number(tmp_path):
    """Numbers never start again, or a late heir could pass a new owner."""
    first = acquire(tmp_path, os.getpid())
    first.release()
    assert holder_of(tmp_path) is None
    assert acquire(tmp_path, os.getpid()).path.stem == "000002"


def test_a_dead_holders_claim_is_inherited(tmp_path):
    """A process that has ended holds nothing, whatever its file says."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    place_claim(tmp_path, pid=child.pid)
    assert holder_of(tmp_path) is not None
    child.communicate()
    assert acquire(tmp_path, os.getpid()).path.stem == "000002"


def test_a_reused_process_number_is_not_the_holder(tmp_path):
    """The same number started at another time is another process."""
    place_claim(tmp_path, start_ticks=1)
    assert holder_of(tmp_path) is None


def test_after_a_reboot_nobody_holds(tmp_path):
    """A claim from before this host's last boot is free."""
    place_claim(tmp_path, boot="before")
    assert holder_of(tmp_path) is None


@pytest.mark.parametrize(("age_s", "held"), [(10, True), (claim.STALE_AFTER_S + 60, False)])
def test_a_holder_on_another_host_lives_by_its_heartbeat(tmp_path, age_s, held):
    """With a recent heartbeat it holds the claim; minutes after the last one it is dead."""
    place_claim(tmp_path, host="elsewhere", age_s=age_s, job="")
    assert (holder_of(tmp_path) is not None) is held


AWAY = SlurmAwayError("squeue: Unable to contact slurm controller")


@pytest.mark.parametrize(
    ("slurm_says", "doubt"),
    [
        ("suspended", "its job is suspended: `scancel 42` ends it"),
        (AWAY, f"Slurm does not say whether its job has ended ({AWAY}): try again when it does"),
        ("", ""),
    ],
)
def test_a_silent_holder_in_a_job_is_dead_when_slurm_says_that_the_job_has_ended(
    tmp_path, monkeypatch, slurm_says, doubt
):
    """A suspended job is silent and wakes up; where Slurm does not answer, nobody knows."""

    def state_of_job(_job_id, _moment):
        if isinstance(slurm_says, Exception):
            raise slurm_says
        return slurm_says

    monkeypatch.setattr(running_job, "state_of_job", state_of_job)
    place_claim(tmp_path, host="elsewhere", age_s=claim.STALE_AFTER_S + 60)
    if not doubt:
        assert acquire(tmp_path, os.getpid()).path.stem == "000002"
        return
    with pytest.raises(ClaimHeldError, match=r"job 42\) since then, silent for 18\d s") as held:
        acquire(tmp_path, os.getpid())
    assert doubt in str(held.value)


@pytest.mark.parametrize("act", ["check", "heartbeat", "release"])
@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_holder_that_wakes_up_finds_its_claim_lost(tmp_path, act, is_deleted):
    """Another one took it over, or the folder was deleted: it may neither write nor release."""
    mine = acquire(tmp_path, os.getpid())
    if is_deleted:
        mine.path.unlink()
    else:
        heir = place_claim(tmp_path, number=2)
    with pytest.raises(ClaimLostError, match="is gone" if is_deleted else heir.name):
        getattr(mine, act)()
    assert is_deleted or holder_of(tmp_path).slurm_job_id == "42"


def test_a_file_server_that_is_away_costs_no_claim(tmp_path, monkeypatch):
    """What can't be asked now is asked with the next heartbeat."""
    mine = acquire(tmp_path, os.getpid())

    def refuse(_path):
        raise PermissionError

    monkeypatch.setattr(claim, "check_claim", refuse)
    mine.heartbeat()


def test_a_late_heir_backs_off_from_a_newer_claim(tmp_path, monkeypatch):
    """It saw number 1 dead, but 3 was taken meanwhile: creating 2 does not make it an owner."""
    old = place_claim(tmp_path, start_ticks=1)
    create = claim._create

    def slow_create(*arguments):
        place_claim(tmp_path, number=3)
        return create(*arguments)

    monkeypatch.setattr(claim, "_create", slow_create)
    with pytest.raises(ClaimHeldError):
        acquire(tmp_path, os.getpid())
    assert not (old.parent / "000002.json").exists()


def test_an_ending_holder_is_waited_for(tmp_path):
    """A holder whose launcher is dead ends soon: the heir waits, up to its bound."""
    holder = place_claim(tmp_path)
    content = json.loads(holder.read_text())
    content["launcher"]["start_ticks"] = 1
    holder.write_text(json.dumps(content))
    begun = time.monotonic()
    with pytest.raises(ClaimHeldError):
        acquire(tmp_path, os.getpid(), ending_s=0.3)
    assert time.monotonic() - begun >= 0.3


SURE = EndedJob("42")
UNSURE = EndedJob("42", claim.SILENT_AFTER_S)


@pytest.mark.parametrize(
    ("ended_job", "age_s", "held"),
    [
        (SURE, 0, False),
        (EndedJob("41"), 0, True),
        (UNSURE, 5, True),
        (UNSURE, claim.SILENT_AFTER_S + 60, False),
    ],
)
def test_the_holder_of_an_ended_job_on_another_host_is_dead(tmp_path, ended_job, age_s, held):
    """At once when Slurm has cleaned up; without heartbeats where the node may still run it."""
    place_claim(tmp_path, host="elsewhere", age_s=age_s)
    assert (holder_of(tmp_path, ended_job) is not None) is held
    if held:
        with pytest.raises(ClaimHeldError):
            acquire(tmp_path, os.getpid(), ended_job=ended_job)
    else:
        assert acquire(tmp_path, os.getpid(), ended_job=ended_job).path.stem == "000002"


def test_a_process_of_this_host_lives_whatever_slurm_says(tmp_path):
    """The kernel knows better: a process that escaped its job may still write."""
    place_claim(tmp_path)
    assert holder_of(tmp_path, SURE) is not None


def test_an_heir_waits_until_the_holder_of_an_ended_job_can_be_taken_for_dead(tmp_path):
    """On an unreachable node, that is some time after the last heartbeat."""
    place_claim(tmp_path, host="elsewhere")
    claim = acquire(tmp_path, os.getpid(), ending_s=30, ended_job=EndedJob("42", 0.5))
    assert claim.path.stem == "000002"


def test_a_claim_names_an_array_task_as_users_do(tmp_path, monkeypatch):
    """In the same form as in the record and for scancel."""
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    acquire(tmp_path, os.getpid())
    assert holder_of(tmp_path).slurm_job_id == "12_3"


VERSION_0 = (
    '{"process": {"host": "elsewhere", "boot": "82317c70", "pid": 23592, "start_ticks": 132126},'
    ' "launcher": {"host": "elsewhere", "boot": "82317c70", "pid": 23590, "start_ticks": 132100},'
    ' "since": "2026-03-01T08:00:00+00:00", "slurm_job_id": "12_3"}'
)
"""As it was written before claims named their version, to the letter."""


def place_text(output, text):
    """Write a claim with this text."""
    path = output / claim.FOLDER / "000007.json"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_a_claim_of_the_version_before_is_honoured(tmp_path, monkeypatch):
    """Its holder may be an array task that started before the program was updated."""
    path = place_text(tmp_path, VERSION_0)
    holder = holder_of(tmp_path)
    assert (holder.process.pid, holder.slurm_job_id) == (23592, "12_3")
    with pytest.raises(ClaimHeldError, match="process 23592 on elsewhere"):
        acquire(tmp_path, os.getpid())
    monkeypatch.setattr(running_job, "state_of_job", lambda *_: "")
    os.utime(path, (time.time() - claim.STALE_AFTER_S - 60,) * 2)
    assert acquire(tmp_path, os.getpid()).path.stem == "000008"


def test_a_claim_released_by_the_version_before_is_free(tmp_path):
    """And the next claim gets the next number."""
    place_text(tmp_path, '{"released": true}')
    assert holder_of(tmp_path) is None
    assert acquire(tmp_path, os.getpid()).path.stem == "000008"


def test_the_version_before_reads_what_is_written_now(tmp_path):
    """Its keys are all there: after an update, programs that still run honour the claim."""
    content = json.loads(acquire(tmp_path, os.getpid()).path.read_text())
    assert json.loads(VERSION_0).keys() <= content.keys()
    assert content["process"].keys() == json.loads(VERSION_0)["process"].keys()


def test_unknown_keys_of_a_claim_are_ignored(tmp_path):
    """A later release may add a key without a new version, also to what names a process."""
    content = json.loads(VERSION_0)
    content["process"]["user"] = content["user"] = "me"
    place_text(tmp_path, json.dumps(content))
    assert holder_of(tmp_path).process.pid == 23592


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema_version": 2, "holder": "x"}', "newer version of this program (format 2; this"),
        ('{"schema_version": 2, "released": true}', "update the program, or move the file away"),
        ("", "is not a readable claim (EOF"),
        ("[]", "not a JSON object"),
        ('{"released": false}', "process: Field required"),
        (VERSION_0.replace("23592", '"x"'), "process.pid: Input should be a valid integer"),
    ],
)
def test_a_claim_that_can_not_be_read_is_an_error_and_not_free(tmp_path, text, words):
    """Who holds the folder is not known: taking it could train a scene twice at once."""
    path = place_text(tmp_path, text)
    for look in (holder_of, lambda output: acquire(output, os.getpid())):
        with pytest.raises(RecordError) as caught:
            look(tmp_path)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)
    assert path.read_text() == text


@pytest.mark.parametrize("error", [None, OSError, KeyboardInterrupt, ValueError])
def test_a_claimed_folder_is_free_after_the_block_whatever_happens_in_it(tmp_path, error):
    """The exception that ended the block is raised on."""
    raises = pytest.raises(error) if error else contextlib.nullcontext()
    with raises, claimed(tmp_path, os.getpid()):
        assert holder_of(tmp_path) is not None
        if error:
            raise error
    assert holder_of(tmp_path) is None


def test_a_disk_that_refuses_the_release_hides_no_result(tmp_path, monkeypatch):
    """The claim dies with this process in any case."""

    def refuse(_claim):
        raise OSError("disk full")

    monkeypatch.setattr(claim.Claim, "release", refuse)
    with claimed(tmp_path, os.getpid()) as held:
        held.heartbeat()


def test_a_folder_that_is_held_is_not_entered(tmp_path):
    """The error names the holder, and its claim stays."""
    held = acquire(tmp_path, os.getpid())
    with pytest.raises(ClaimHeldError), claimed(tmp_path, os.getpid()):
        pytest.fail("entered")
    assert held.path.exists()
    assert holder_of(tmp_path) is not None


def test_a_holder_is_named_without_anything_that_a_terminal_obeys():
    """Whoever can write the result root can write a claim."""
    process = ProcessId("n1\x1b[2J\x07", "boot", 1, 1)
    holder = Holder(process, process, "2026-11-30", "12\x07")
    assert str(holder) == r"process 1 on n1\x07 (Slurm job 12\x07) since 2026-11-30"
