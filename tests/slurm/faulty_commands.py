"""Slurm's commands with faults that a test switches on: small scripts, first on a lab's PATH.

A command that hangs is given up after seconds, not after the client's minute.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from private_slurm import daemons, processes

from tests.faults.markers import parameter

GARBAGE = "scontrol prints garbage"
SCONTROL = ("scontrol fails", "scontrol hangs", GARBAGE)
SACCT = ("sacct fails", "sacct hangs", "sacct prints garbage")
SQUEUE = ("squeue fails", "squeue hangs", "squeue prints garbage")
SBATCH = (
    "sbatch fails",
    "sbatch hangs",
    "sbatch prints garbage",
    "sbatch submits and answers too late",
)
NO_ACCOUNTING = "accounting is down"
BREAKAGES = {
    "scontrol fails": "completion text or nothing",
    "scontrol hangs": "completion text or nothing",
    "scontrol prints garbage": "garbage is a configuration",
    "sacct fails": "accounting alone is asked",
    "sacct hangs": "accounting alone is asked",
    "sacct prints garbage": "accounting alone is asked",
    "accounting is down": "accounting alone is asked",
    "squeue fails": "a command that fails has an empty answer",
    "squeue hangs": "a command that hangs has an empty answer",
    "squeue prints garbage": "garbage is an empty queue",
    "sbatch fails": "a job is submitted once",
    "sbatch hangs": "a job is submitted once",
    "sbatch prints garbage": "a job that may be taken is not looked up",
    "sbatch submits and answers too late": "a job that may be taken is not looked up",
}
COMMANDS = ("sbatch", "squeue", "sacct", "scontrol")
END_S = 40
HANGS_S, LATE_S = 2, 10
"""How long is waited for a command with such a fault, instead of the client's minute."""
SCRIPT = """\
#!/bin/bash
fault=$(cat "$LAB_FAULTS/{name}" 2>/dev/null)
case " $* " in *" --test-only "*) fault= ;; esac
echo "$*" >>"$LAB_FAULTS/{name}.calls"
[ -z "$fault" ] || echo "$*" >>"$LAB_FAULTS/{name}.met"
case $fault in
  fails) echo "{words}" >&2; exit 1 ;;
  hangs) exec sleep 600 ;;
  prints) {before}printf '<html>\\n<h1>502 Bad Gateway</h1>\\nx = y\\na|b|c|d|e|f\\n'; exit 0 ;;
  submits) {real} "$@" >"$LAB_FAULTS/late"; exec sleep 600 ;;
  *) exec {real} "$@" ;;
esac
"""
WORDS = {
    "sbatch": "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "squeue": "squeue: error: internal error",
    "sacct": "sacct: error: Problem talking to the database: Connection refused",
    "scontrol": "scontrol: error: internal error",
}
SITE = """
import os, pathlib, subprocess
run = subprocess.run
SHORTER = {{"hangs": {hangs}, "submits": {late}}}
def run_for_a_shorter_time(command, *arguments, **more):
    if more.get("timeout") == 60.0:
        try:
            fault = pathlib.Path(os.environ["LAB_FAULTS"], command[0]).read_text()
        except OSError:
            fault = ""
        more["timeout"] = SHORTER.get(fault, 60.0)
    return run(command, *arguments, **more)
subprocess.run = run_for_a_shorter_time
"""
"""A sitecustomize.py: what hangs is waited for in seconds."""


def with_faulty_commands(lab: Any, name: str) -> tuple[Any, Faults]:
    """Return the lab with Slurm's commands that can have faults, and what switches them on.

    Labs of other names have faults of their own.
    """
    folder, faults = lab.root / "commands", lab.root / "faults" / name
    if not folder.exists():
        folder.mkdir()
        for command in COMMANDS:
            (folder / command).write_text(_script(command))
            (folder / command).chmod(0o755)
        (folder / "sitecustomize.py").write_text(SITE.format(hangs=HANGS_S, late=LATE_S))
    faults.mkdir(parents=True)
    own = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "LAB_FAULTS": str(faults),
    }
    return replace(lab, environment=lab.environment | own), Faults(faults)


def _script(command: str) -> str:
    real = shutil.which(command) or command
    before = f'{real} "$@" >/dev/null; ' if command == "sbatch" else ""  # it has submitted
    return SCRIPT.format(name=command, words=WORDS[command], before=before, real=real)


@dataclass(frozen=True)
class Faults:
    """The faults of a lab's commands, by what a row of the table says: `squeue hangs`."""

    folder: Path

    def begin(self, fault: str) -> None:
        """Have each call of the command meet the fault from now on."""
        command, does = fault.split()[:2]
        new = self.folder / "new"
        new.write_text(does)
        new.rename(self.folder / command)  # at once: a command reads the file

    def end(self, fault: str) -> None:
        """Have the command do what it should again."""
        (self.folder / fault.split(maxsplit=1)[0]).unlink()

    def met(self, fault: str) -> int:
        """Return how many calls of the command have met a fault by now."""
        return self._lines(f"{fault.split(maxsplit=1)[0]}.met")

    def calls(self, command: str) -> int:
        """Return how many calls of the command there were by now."""
        return self._lines(f"{command}.calls")

    def _lines(self, name: str) -> int:
        log = self.folder / name
        return len(log.read_text().splitlines()) if log.exists() else 0


def cells(way: str, faults: tuple[str, ...], **words: str) -> list[Any]:
    """Return a test's parameters: a fault each, marked with its cell."""
    return [
        parameter(fault, way, breakage=BREAKAGES[fault], left="nothing", **words)
        for fault in faults
    ]


def job_names(slurm: Any, prefix: str) -> Counter[str]:
    """Return how many jobs of each name have ended, of those whose names begin so."""
    lines = (slurm.layout.folder / "jobs.txt").read_text().splitlines()
    names = [line.partition(" Name=")[2].partition(" ")[0] for line in lines]
    return Counter(name for name in names if name.startswith(prefix))


@contextmanager
def without_accounting(slurm: Any) -> Iterator[None]:
    """Have no slurmdbd within the block."""
    find = lambda: processes.daemons(slurm.layout, "slurmdbd")  # noqa: E731
    processes.end(find, signal.SIGKILL, END_S)
    yield
    daemons.start_accounting(slurm.layout)


def chosen(request: pytest.FixtureRequest, test: Callable[..., None]) -> set[str]:
    """Return the faults of a test's variants that are going to run: others are not done."""
    of_test = [item for item in request.session.items if item.function is test]
    return {item.callspec.params["fault"] for item in of_test}
