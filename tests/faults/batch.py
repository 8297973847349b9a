"""One experiment in which each scene has another fault, and the same command again.

A way of running scenes runs it once for all its cells (`run_batch`), whose tests look at it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from training.jobs.job_cause import SLURM_SAYS
from training.system.processes import process_id

FLAGS = ("--run-all", "--expect", "metrics.json", "--time-limit", "0:00:08", "--kill-grace", "1")
"""Eight seconds are enough for a trainer that has no fault, on a busy machine too."""
MOST_S_TO_KILL = 55
"""From a trainer's start to its end after limit and grace; a Slurm job has a minute at least."""
MEMORY_CONTROLLER = Path("/sys/fs/cgroup/memory")
SMALL_DISK_MB = 4
OTHERS_CLAIM = "000009.json"
"""What a scene's other run, which is made up, leaves in the claim's folder."""
KILLED_BEFORE_THE_RECORD = """
import os, pathlib, signal
replace = pathlib.Path.replace
def replace_or_die(self, target):
    target = pathlib.Path(target)
    flag = target.with_name("killed.txt")
    if target.parts[-3:-2] == ("noted",) and target.name == "run.json" and not flag.exists():
        if '"status": "done"' in self.read_text():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = replace_or_die
"""
"""A sitecustomize.py: no signal could meet the moment between a trainer's end and the record."""


@dataclass(frozen=True)
class BatchFault:
    """The fault of one scene, and what its cells promise."""

    fault: str
    do: str
    """What the stand-in trainer is told to do."""
    attempts: str
    breakage: str
    left: str = "nothing"
    more: Mapping[str, str] = field(default_factory=dict)
    """Words that are not those of a scene whose last attempt says how it ends."""
    array: Mapping[str, str] = field(default_factory=dict)
    """Words of the array's cell that differ from those of the others."""
    slurm: Mapping[str, str] = field(default_factory=dict)
    """Of both ways on Slurm."""

    def words(self, way: str) -> dict[str, str]:
        """Return the words of a way's marker."""
        attempts = {"attempts": self.attempts} | (dict(self.array) if way == "slurm_array" else {})
        ends = ("done", "completed", "skips it")
        if not attempts["attempts"].endswith("ok"):
            ends = ("failed", "failed", "trains it")
        general = dict(zip(("ends", "flow", "rerun"), ends, strict=True))
        own = {**self.more, **(self.slurm if way.startswith("slurm") else {}), **attempts}
        return {**general, "left": self.left, "breakage": self.breakage, **own}


FAULTS = {
    "raises": BatchFault(
        "the trainer raises", "fail", "trainer_error", "any exit status is success"
    ),
    "nothing": BatchFault(
        "the trainer ends with 0 and has written nothing",
        "nothing",
        "no_output",
        "outputs are not looked for",
    ),
    "memory": BatchFault(
        "the trainer is killed for memory",
        "eat",
        "out_of_memory",
        "the kernel's kills are not counted",
    ),
    "hangs": BatchFault("the trainer hangs", "hang", "timeout", "a timeout is not the end"),
    "ignores": BatchFault("the trainer ignores TERM", "ignore_term", "timeout", "no KILL"),
    "disk": BatchFault(
        "the trainer fills the disk",
        "fill",
        "trainer_error",
        "no room is kept for a record",
        left="the full disk",
    ),
    "readonly": BatchFault(
        "the result root becomes read-only",
        "read_only",
        "worker_lost",
        "an attempt without an end stays open",
        left="a record that the next run closes",
        slurm={"breakage": "what Slurm says closes no record"},
    ),
    "deleted": BatchFault(
        "results are deleted while scenes train",
        "delete",
        "-",
        "a claim is not looked at before the record",
        more={"ends": "not started"},
    ),
    "rebooted": BatchFault(
        "the host is rebooted, and the process id given out again",
        "ok",
        "worker_lost, ok",
        "a process of an earlier boot lives",
    ),
    "truncated": BatchFault(
        "the trainer leaves a truncated checkpoint",
        "truncated",
        "timeout, ok",
        "a timeout is not tried again",
    ),
    "random": BatchFault(
        "the trainer leaves a checkpoint of random bytes",
        "random",
        "timeout, ok",
        "a timeout is not tried again",
    ),
    "prints": BatchFault(
        "the trainer prints 200 MB", "flood", "ok", "output is thrown away", left="200 MB of log"
    ),
    "session": BatchFault(
        "the trainer leaves a process in a session of its own",
        "fork",
        "ok",
        "descendants are left alone",
    ),
    "killed": BatchFault(
        "the supervisor is killed",
        "kill_supervisor",
        "worker_lost, ok",
        "lost workers are not retried",
        array={
            "attempts": "worker_lost",
            "left": "a record that the next command closes",
            "breakage": "what Slurm says closes no record",
        },
    ),
    "noted": BatchFault(
        "the supervisor is killed after the trainer has ended well",
        "ok",
        "ok",
        "the trainer's exit is not noted",
        array={
            "flow": "failed",
            "left": "a record that the next command completes",
            "rerun": "completes the record",
        },
    ),
    "thawed": BatchFault(
        "the supervisor is frozen and thawed, its scene taken over meanwhile",
        "lose_claim",
        "worker_lost",
        "a claim is never lost",
        left="all as the other run has it",
        more={"flow": "held", "ends": "as the other run says", "rerun": "trains it after that run"},
    ),
}
"""By scene."""
CLOSED_LATER = {"readonly", "deleted", "killed", "noted", "thawed"}
"""Scenes whose record the first run may not have closed."""


@dataclass
class Batch:
    """What one way made of the batch."""

    lab: Any
    exp_name: str
    way: str
    told: dict[str, str] = field(default_factory=dict)
    """How the first run, by its own words, has ended each scene."""
    status: int | None = None
    """The first run's exit status, where it has one; `status_again`: the second's."""
    status_again: int | None = None
    left: list[str] = field(default_factory=list)
    """Processes that were there when the first run had ended."""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    told_again: dict[str, str] = field(default_factory=dict)
    records_again: dict[str, dict[str, Any]] = field(default_factory=dict)
    starts_again: dict[str, int] = field(default_factory=dict)

    def folder(self, scene: str) -> Path:
        """Return a scene's output folder."""
        return self.lab.output(scene, self.exp_name)

    def all_starts(self) -> dict[str, int]:
        """Return how often each scene's trainer has been started up to now."""
        files = {scene: self.folder(scene) / "starts.txt" for scene in FAULTS}
        texts = {scene: file.read_text() if file.exists() else "" for scene, file in files.items()}
        return {scene: len(text.splitlines()) for scene, text in texts.items()}

    def all_records(self) -> dict[str, dict[str, Any]]:
        """Return the records as they are now."""
        there = [scene for scene in FAULTS if (self.folder(scene) / "run.json").exists()]
        return {scene: self.lab.record(scene, self.exp_name) for scene in there}

    def check(self, scene: str) -> None:
        """Assert what the marker of a scene's cell says."""
        words = FAULTS[scene].words(self.way)
        causes = [each for each in words["attempts"].split(", ") if each != "-"]
        assert (scene in self.records) == (scene != "deleted")
        assert self.told[scene] == ("completed" if words["flow"] == "completed" else "failed")
        assert self.left == []
        if scene not in CLOSED_LATER:
            assert self.records[scene]["status"] == words["ends"]
            assert causes_in(self.records[scene]) == causes
        trained_again = words["rerun"].startswith("trains")
        assert self.starts_again[scene] == self.starts[scene] + trained_again
        assert causes_in(self.records_again[scene]) == causes + ["ok"] * trained_again
        assert self.records_again[scene]["status"] == "done"
        assert not trained_again or self.told_again[scene] == "completed"
        CHECKS.get(scene, lambda _: None)(self.folder(scene))
        first = self.records_again[scene]["attempts"][0]["message"]
        assert first.endswith("(its disk is full)") == (scene == "disk")
        assert self.status in {1, None}
        assert self.status_again in {0, None}
        if words["breakage"] == "what Slurm says closes no record":
            assert SLURM_SAYS in first


def causes_in(record: Mapping[str, Any]) -> list[str]:
    """Return the causes of a record's attempts."""
    return [attempt["cause"] for attempt in record["attempts"]]


def _resumed(output: Path) -> None:
    assert (output / "resumed.txt").read_text() == "1\n"


def _logged(output: Path) -> None:
    assert (output / "train.log").stat().st_size > 200 * 2**20


def _outlived_by_none(output: Path) -> None:
    assert (output / "children.txt").exists()
    assert not (output / "outlived.txt").exists()


def _killed(output: Path) -> None:
    assert (output / "killed.txt").exists()


def _killed_in_time(output: Path) -> None:
    """By what keeps its limit, not by the end of its Slurm job."""
    first = json.loads((output / "run.json").read_text())["attempts"][0]
    start, end = (datetime.fromisoformat(first[each]) for each in ("start", "end"))
    assert (end - start).total_seconds() < MOST_S_TO_KILL


CHECKS: dict[str, Callable[[Path], None]] = {
    "ignores": _killed_in_time,
    "truncated": _resumed,
    "random": _resumed,
    "prints": _logged,
    "noted": _killed,
    "session": _outlived_by_none,
}
"""What else holds of a scene's output folder after both runs."""


def cells(way: str) -> list[Any]:
    """Return the parameters of a way's tests: a scene each, marked with its cell."""
    marks = {
        scene: pytest.mark.fault(each.fault, way, **each.words(way))
        for scene, each in FAULTS.items()
    }
    return [
        pytest.param(scene, id=FAULTS[scene].fault, marks=mark) for scene, mark in marks.items()
    ]


def run_batch(
    lab: Any, exp_name: str, way: str, run: Callable[[], tuple[dict[str, str], int | None]]
) -> Batch:
    """Run the batch, and once more without faults: trainers do well, the disk has room.

    `run` runs the experiment to its end and returns how each scene ended by the words of its way,
    and the exit status, where there is one.
    """
    for scene, fault in FAULTS.items():
        lab.add_scene(scene, do=fault.do)
    made = Batch(lab, exp_name, way)
    reboot(made)
    with small_disk(made.folder("disk").parent), writable_again(made.folder("readonly")):
        made.told, made.status = run()
        made.left = [str(each) for each in lab.strays()]
        made.records, made.starts = made.all_records(), made.all_starts()
        subprocess.run(["umount", "--lazy", str(made.folder("readonly"))], check=True)
        (made.folder("disk") / "too_large.bin").unlink()
        made.folder("deleted").mkdir(parents=True, exist_ok=True)
        (made.folder("thawed") / ".claim" / OTHERS_CLAIM).unlink()
        for scene in FAULTS:
            (made.folder(scene) / "healed").touch()
        made.told_again, made.status_again = run()
        made.records_again, made.starts_again = made.all_records(), made.all_starts()
    return made


def reboot(made: Batch) -> None:
    """Train a scene, and leave record and claim as a host that lost its power meanwhile would.

    The process that had the scene has the number, and the start since boot, of one that lives now.
    """
    scene = ("--scene-name-includes", "rebooted", "--expect", "metrics.json")
    limits = ("--time-limit", "0:00:08", "--kill-grace", "1", "--exp-name", made.exp_name)
    assert made.lab.run(*scene, *limits).returncode == 0
    record = made.lab.record("rebooted", made.exp_name)
    record["status"], record["metrics"] = "running", {}
    record["attempts"][0] |= {"end": None, "exit_status": None, "cause": None}
    output = made.folder("rebooted")
    (output / "run.json").write_text(json.dumps(record))
    (output / "metrics.json").unlink()
    holder = asdict(process_id(os.getpid())) | {"boot": "of the day before"}
    claim = {"process": holder, "launcher": holder, "since": record["attempts"][0]["start"]}
    (output / ".claim" / "000008.json").write_text(json.dumps(claim))


@contextlib.contextmanager
def writable_again(folder: Path) -> Iterator[None]:
    """End the mounts that a trainer has made over its output folder, whatever happens."""
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def sitecustomize(lab: Any) -> str:
    """Write what kills the supervisor of one scene; return the folder for PYTHONPATH."""
    folder = lab.root / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILLED_BEFORE_THE_RECORD)
    return str(folder)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = SMALL_DISK_MB) -> Iterator[None]:
    """Mount a file system of a few megabytes; skips where we may not."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mount = shutil.which("mount") or "mount"
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def memory_limit(megabytes: int) -> Iterator[Path]:
    """Make a cgroup for all processes of a batch; yield the file that takes their ids, or skip.

    The kernel kills the largest of them, which is the trainer that eats memory.
    """
    group = MEMORY_CONTROLLER / f"faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(f"{megabytes}M")
    except OSError:
        pytest.skip("needs the right to make a cgroup (version 1) with a memory limit")
    try:
        yield group / "cgroup.procs"
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                (MEMORY_CONTROLLER / "cgroup.procs").write_text(pid)
        group.rmdir()
