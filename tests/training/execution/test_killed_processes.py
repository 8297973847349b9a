"""Killed processes, two runs at once, full disks: nothing lost, nothing left, nothing twice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

BOUND_S = 15


def trainer_pid(lab, scene: str, start: int = 0) -> int:
    return int(lab.starts(scene)[start].split()[0])


def supervisor_of(lab, scene: str) -> psutil.Process:
    return psutil.Process(trainer_pid(lab, scene)).parent()


@pytest.fixture
def hanging(lab, eventually):
    """A launch of two scenes whose first trainer hangs."""
    lab.add_scene("a_1")
    lab.add_scene("a_2")
    lab.flags = ("--run-all", "--kill-grace", "1", "--overrides", "do=resume", "only=a_1")
    process = lab.popen(*lab.flags)
    eventually((lab.output("a_1") / "ready.txt").exists, "the trainer")
    return process


@pytest.mark.fault(
    "kill -9 while scenes train",
    way="launcher",
    ends="failed",
    attempts="worker_lost",
    left="nothing within 40 s",
    flow="killed",
    rerun="trains it, and what was left",
    breakage="a trainer without its launcher is cancelled",
)
def test_kill_9_of_the_launcher_leaves_no_trainer_and_a_true_record(
    lab, hanging, eventually, alive
):
    """Trainer and supervisor end, the record says worker_lost; the same command finishes all."""
    trainer, supervisor = trainer_pid(lab, "a_1"), supervisor_of(lab, "a_1").pid
    hanging.kill()
    eventually(lambda: not alive(trainer) and not alive(supervisor), "their end", BOUND_S)
    assert lab.causes("a_1") == ["worker_lost"]
    launcher = f"process {hanging.pid} (run.py) that had launched it died"
    assert lab.record("a_1")["attempts"][0]["message"] == launcher
    again = lab.run(*lab.flags)
    assert again.returncode == 0, again.stdout
    assert lab.causes("a_1") == ["worker_lost", "ok"]
    assert [len(lab.starts(name)) for name in ("a_1", "a_2")] == [2, 1]


def test_the_next_run_waits_for_what_is_ending(lab, hanging):
    """Started right after kill -9, while the old trainer is ending, it takes the scene over."""
    hanging.kill()
    again = lab.run(*lab.flags)
    assert again.returncode == 0, again.stdout + again.stderr
    assert lab.causes("a_1") == ["worker_lost", "ok"]


def test_kill_9_of_launcher_and_supervisor_is_seen_by_the_next_run(lab, hanging, eventually, alive):
    """Nobody could write the record: the next run closes it and finishes the scene."""
    trainer = trainer_pid(lab, "a_1")
    supervisor = supervisor_of(lab, "a_1")
    hanging.send_signal(signal.SIGSTOP)
    supervisor.kill()
    hanging.kill()
    eventually(lambda: not alive(trainer), "the trainer's end", BOUND_S)
    assert lab.record("a_1")["status"] == "running"
    assert lab.run(*lab.flags).returncode == 0
    assert lab.causes("a_1") == ["worker_lost", "ok"]


KILLED_BEFORE_THE_RECORD = """
import os, pathlib, signal
replace = pathlib.Path.replace
def replace_or_die(self, target):
    flag = pathlib.Path(target).with_name("killed.txt")
    if pathlib.Path(target).name == "run.json" and not flag.exists():
        if '"status": "done"' in self.read_text():
            flag.touch()
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = replace_or_die
"""


def test_a_trainer_that_ended_well_is_not_started_again_when_all_above_it_is_killed(lab, tmp_path):
    """Its exit status is noted first: the next launch completes the record."""
    lab.add_scene("a_1")
    (tmp_path / "sitecustomize.py").write_text(KILLED_BEFORE_THE_RECORD)
    lab.environment["PYTHONPATH"] = str(tmp_path)
    assert lab.run().returncode == -signal.SIGKILL
    assert lab.record("a_1")["status"] == "running"
    assert lab.run().returncode == 0
    assert (lab.output("a_1") / "killed.txt").exists()
    assert (lab.causes("a_1"), len(lab.starts("a_1"))) == (["ok"], 1)
    assert lab.record("a_1")["metrics"]["psnr"] == 20.0


def test_a_frozen_run_is_not_dead_and_a_lost_claim_is_seen_on_waking_up(lab, hanging, alive):
    """It keeps its scene while it is stopped; woken after another has the scene, it writes nothing.

    As on a machine that was suspended for long: launcher, supervisor and trainer stand still.
    """
    supervisor, trainer = supervisor_of(lab, "a_1"), trainer_pid(lab, "a_1")
    frozen = [psutil.Process(pid) for pid in (hanging.pid, supervisor.pid, trainer)]
    for process in frozen:
        process.suspend()
    second = lab.run(*lab.flags)
    assert f"a_1: not run, being trained by process {supervisor.pid}" in second.stdout
    record = (lab.output("a_1") / "run.json").read_bytes()
    (claim,) = (lab.output("a_1") / ".claim").glob("*.json")
    holder = json.loads(claim.read_text())
    for name in ("process", "launcher"):
        holder[name]["host"] = "elsewhere"
    heir = claim.with_name("000009.json")
    heir.write_text(json.dumps(holder))
    for process in reversed(frozen):
        process.resume()
    out, _ = hanging.communicate(timeout=60)
    assert (hanging.returncode, alive(trainer)) == (1, False)
    assert f"another one took it over meanwhile ({heir})" in out
    assert (lab.output("a_1") / "run.json").read_bytes() == record
    assert len(lab.starts("a_1")) == 1
    assert not (lab.output("a_1") / "metrics.json").exists()


def test_kill_9_of_the_trainer_is_a_failure_that_the_same_command_repairs(lab, hanging):
    """The cause is trainer_error with the signal's name; the next run resumes it."""
    os.kill(trainer_pid(lab, "a_1"), signal.SIGKILL)
    hanging.communicate(timeout=60)
    assert hanging.returncode == 1
    assert "SIGKILL" in lab.record("a_1")["attempts"][0]["message"]
    assert lab.run(*lab.flags).returncode == 0
    assert lab.causes("a_1") == ["trainer_error", "ok"]
    assert len(lab.starts("a_2")) == 1


@pytest.mark.fault(
    "a launcher has the experiment, too",
    way="launcher",
    ends="done",
    attempts="ok",
    left="nothing",
    flow="held",
    rerun="skips it",
    breakage="a claim that is held is free",
)
def test_a_second_launch_names_the_holder_of_a_scene_and_trains_the_others(lab, eventually):
    """Two launches of one experiment at once: every scene starts once, also by a third one."""
    lab.add_scene("a_1")
    lab.add_scene("a_2")
    flags = ("--run-all", "--overrides", "do=wait", "only=a_1")
    first = lab.popen(*flags)
    eventually((lab.output("a_1") / "ready.txt").exists, "the trainer")
    second = lab.run(*flags)
    assert second.returncode == 1
    assert "a_1: not run, being trained by process" in second.stdout
    lab.let_go("a_1")
    out, _ = first.communicate(timeout=60)
    assert first.returncode == 0, out
    assert lab.causes("a_1") == ["ok"]
    assert lab.strays() == []
    again = lab.call(*flags)
    assert (again.returncode, again.stdout.count("skipped, done")) == (0, 2), again.stdout
    assert [len(lab.starts(name)) for name in ("a_1", "a_2")] == [1, 1]


def test_many_launches_at_the_same_moment_start_a_scene_once(lab):
    """Launches that lose the race for the claim train nothing."""
    lab.add_scene("a_1")
    launches = [lab.popen() for _ in range(4)]
    statuses = [launch.wait(timeout=60) for launch in launches]
    assert 0 in statuses
    assert len(lab.starts("a_1")) == 1


def test_a_result_root_that_is_no_folder_is_a_fault(lab):
    """Named with its flag, before anything starts."""
    (lab.root / "file").touch()
    lab.add_scene("a_1")
    result = lab.run("--results-root", str(lab.root / "file" / "results"))
    assert result.returncode == 2
    assert "--results-root is, or is inside, something that is not a folder" in result.stderr


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 120 MB, if we may mount one."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [str(mount), "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Write until there is no room left."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(2**16)):
            pass


def test_a_full_result_disk_is_a_fault_before_the_start(lab, small_disk):
    """No room: a usage error that says how much there is, nothing created."""
    lab.add_scene("a_1")
    (small_disk / "ballast").write_bytes(bytes(60 * 2**20))
    result = lab.run("--results-root", str(small_disk))
    assert result.returncode == 2
    assert "has no room" in result.stderr
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_disk_that_fills_while_training_is_a_failed_scene_and_no_traceback(
    lab, small_disk, eventually
):
    """The scene fails with a message; with room again the same command finishes it."""
    lab.add_scene("a_1")
    flags = ("--results-root", str(small_disk), "--overrides", "do=wait")
    output = small_disk / "a_1" / "exp"
    process = lab.popen(*flags)
    eventually((output / "ready.txt").exists, "the trainer")
    fill(small_disk)
    (output / "go.txt").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out
    assert "Traceback" not in err
    (small_disk / "ballast").unlink()
    assert lab.run(*flags).returncode == 0
