"""Processes are identified beyond their number, and requests to stop are counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from training.system.job_environment import is_started_again, node_name, own_job_id
from training.system.processes import process_id, signal_group, signal_name, start_ticks
from training.system.stop_request import StopRequest, stop_on_signals


def test_a_process_lives_until_it_ends(eventually):
    """A zombie, which has not been waited for, is dead."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process_id(child.pid)
    assert identity.lives()
    child.stdin.close()
    eventually(lambda: not identity.lives(), "the child's end")
    assert child.returncode is None
    child.wait(60)
    assert start_ticks(child.pid) is None


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot": "before"}, {"host": "elsewhere"}])
def test_another_process_with_the_same_number_is_not_it(change):
    """Started at another time, before the last boot, or on another host."""
    identity = process_id(os.getpid())
    assert identity.lives()
    assert not replace(identity, **change).lives()


def test_a_command_with_brackets_in_its_name_has_a_start(tmp_path):
    """Which /proc/PID/stat shows unquoted before the field."""
    program = tmp_path / "a) R 1 ("
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "60"])
    try:
        assert start_ticks(child.pid) > 0
    finally:
        child.kill()
        child.wait(60)


def test_a_group_without_processes_can_not_be_signalled():
    """That is returned, not raised."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], start_new_session=True)
    assert signal_group(child.pid, signal.SIGKILL)
    child.wait(60)
    assert not signal_group(child.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("status", "name"), [(-9, "SIGKILL"), (-15, "SIGTERM"), (-200, "signal 200")]
)
def test_a_negative_exit_status_names_its_signal(status, name):
    """As subprocess reports it."""
    assert signal_name(status) == name


def test_the_second_signal_means_at_once():
    """What comes first is called once; the signals' handlers are restored afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    calls = []
    with stop_on_signals(lambda: calls.append(1)) as stop:
        levels = [stop.level]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
            levels.append(stop.level)
    assert levels == [0, 1, 2, 2]
    assert calls == [1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_request_that_is_repeated_stays_one():
    """For those who can't tell whether they asked already."""
    stop = StopRequest()
    stop.request_once()
    stop.request_once()
    assert stop.level == 1
    stop.request()
    stop.request_once()
    assert stop.level == 2


@pytest.mark.parametrize(
    ("environment", "job_id"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "15"}, "15"),
        (
            {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"},
            "12_3",
        ),
    ],
)
def test_a_process_knows_its_slurm_job(environment, job_id):
    """By the id that users type."""
    assert own_job_id(environment) == job_id
    assert not is_started_again(environment)
    assert is_started_again({**environment, "SLURM_RESTART_COUNT": "1"})
    assert node_name({**environment, "SLURMD_NODENAME": "n1"}) == "n1"
