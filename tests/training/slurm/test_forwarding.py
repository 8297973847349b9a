"""Which scripts get a preamble that sends signals on; that it works is tested on a real Slurm."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from script_shapes import RUN, bash

from preprocess.roots import CHECKOUT
from training.slurm.batch_script import parse
from training.slurm.forwarding import with_forwarding

FOLDER = Path("/a state/slurm")


@pytest.mark.parametrize(
    "text",
    [
        bash(f"exec {RUN}"),
        bash("module load x", f"exec srun -n1 {RUN} > log 2>&1  # to the end; really"),
        bash(f"if true; then\n  exec {RUN}\nfi\nexec apptainer exec a.sif {RUN}"),
        bash(f"exec /opt/my_env/bin/{RUN}"),
        bash(f"exec nice -n 1 {RUN}"),
        bash(f"exec {RUN} || exit", first="#!/usr/bin/env python3"),
        bash(RUN, first="#!/bin/tcsh"),
        (CHECKOUT / "training" / "submit.slurm").read_text(encoding="utf-8"),
    ],
)
def test_a_script_that_replaces_its_shell_stays_as_it_is(text):
    """So does one that the preamble is not written for."""
    assert with_forwarding(text, FOLDER) == text


@pytest.mark.parametrize(
    "last",
    [RUN, f"{RUN}\ndate", f"exec {RUN} | tee log", f"exec {RUN} &", f"srun {RUN}", '. a "$@"'],
)
def test_a_script_that_keeps_its_shell_gets_a_preamble_before_its_first_command(last):
    """Its directives and its own lines stay as they are, in their order."""
    text = bash("#SBATCH --mem=1", "# a comment", "date", last)
    lines, made = text.splitlines(), with_forwarding(text, FOLDER).splitlines()
    first = lines.index("date")
    assert made[:first] == lines[:first]
    assert made[len(made) - len(lines) + first :] == lines[first:]
    assert parse("\n".join(made))[0] == parse(text)[0]
    assert "'/a state/slurm'/" in "\n".join(made)


@pytest.mark.parametrize(("name", "is_forwarded"), [("USR1", False), ("USR2", True), ("", False)])
def test_a_warning_that_we_take_for_something_else_is_translated(name, is_forwarded):
    """SIGUSR2 means that our parent died; only USR1 asks for a checkpoint."""
    text = bash(f"exec {RUN}")
    assert (with_forwarding(text, FOLDER, name) != text) is is_forwarded


@pytest.fixture
def start(tmp_path):
    """Return a function that runs a script as Slurm would, and how its entry is called."""
    processes = []

    def run(*lines: str, first: str = "#!/bin/bash") -> subprocess.Popen[str]:
        script = tmp_path / "script"
        script.write_text(with_forwarding(bash(*lines, first=first), tmp_path))
        script.chmod(stat.S_IRWXU)
        environment = {**os.environ, "SLURM_JOB_ID": "7", "PATH": os.environ["PATH"]}
        process = subprocess.Popen(
            [script, "--in-job", "array", "/plan.json"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


ENTRY = """
import os, signal, sys, time
open(os.environ["TS_JOB_ENTRY"], "w").write(str(os.getpid()))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
signal.signal(signal.SIGUSR1, lambda *_: print("saved", flush=True))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("first", ["#!/bin/bash", "#!/bin/sh -eu", "#!/usr/bin/env bash"])
def test_signals_go_on_and_the_exit_status_comes_back(start, tmp_path, first):
    """A warning, then the end; nothing is left, not even the file."""
    (tmp_path / "run.py").write_text(ENTRY)
    process = start(f'{sys.executable} {tmp_path}/run.py "$@"', first=first)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR2)
    assert process.stdout.readline() == "saved\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 5
    assert not list(tmp_path.glob("*.entry"))


def test_before_anything_has_registered_the_script_itself_is_ended(start):
    """As by Slurm: while modules load, say."""
    process = start("echo loading", "sleep 60", RUN)
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGUSR1)  # no reason to end
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM


def test_no_signal_finds_a_started_script_without_its_handlers():
    """A signal between the script's start and a handler's would end the shell by its default."""
    preamble = with_forwarding(bash(RUN), FOLDER)
    assert preamble.rindex("  trap ") < preamble.index('"$0" "$@" &')


def test_a_process_that_got_the_number_of_one_that_ended_is_left_alone(start, tmp_path):
    """The file's process must have got this job's plan."""
    with subprocess.Popen(["sleep", "60"]) as innocent:
        (tmp_path / "7-0.entry").write_text(str(innocent.pid))
        process = start("echo loading", "sleep 60", RUN)
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        assert innocent.poll() is None
        innocent.kill()


def test_a_script_that_dies_of_the_signal_too_does_not_take_its_child_along(start, tmp_path, alive):
    """Where Slurm signals every process of a job: the first one waits for who was registered."""
    (tmp_path / "run.py").write_text(ENTRY.replace("sys.exit(5)", "(time.sleep(2), sys.exit(5))"))
    process = start(f'{sys.executable} {tmp_path}/run.py "$@"', "date")
    assert process.stdout.readline() == "ready\n"
    entry = int((tmp_path / "7-0.entry").read_text())
    shell = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    for each in (shell, process.pid):
        os.kill(each, signal.SIGTERM)
    process.wait(timeout=30)
    assert not alive(entry)


def test_a_signal_that_the_script_traps_reaches_it_as_well(start, tmp_path):
    """Its own handler runs: it may copy results, or queue the job again."""
    (tmp_path / "run.py").write_text(ENTRY)
    process = start(
        "trap 'echo trapped' USR1", f'{sys.executable} {tmp_path}/run.py "$@" &', "wait; wait"
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    said = process.stdout.readline() + process.stdout.readline()
    assert sorted(said) == sorted("saved\ntrapped\n")  # two processes write at once
