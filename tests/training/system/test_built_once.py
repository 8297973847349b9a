"""What is slow to build is built by one process, whatever starts at once or dies half-way."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from training.system.built_once import built_once

BUILD = """
import sys, time
from pathlib import Path
from training.system.built_once import built_once

folder = Path(sys.argv[1])

def build(unfinished):
    with folder.with_name("builds.txt").open("a") as file:
        print("built", file=file)
    (unfinished / "first").write_text("1")
    time.sleep(float(sys.argv[2]))
    (unfinished / "second").write_text("2")

print(sorted(path.name for path in built_once(folder, build, print).iterdir()))
"""


def start(folder, seconds):
    command = [sys.executable, "-c", BUILD, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_four_processes_that_start_at_once_one_builds(tmp_path):
    """And all four find it complete."""
    folder = tmp_path / "shared" / "code"
    processes = [start(folder, 0.5) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert said == ["['first', 'second']\n"] * 4
    assert (folder.parent / "builds.txt").read_text() == "built\n"


def test_what_a_killed_process_left_is_built_anew(tmp_path):
    """Its half-built folder does not count, and its lock is gone with it."""
    folder = tmp_path / "code"
    killed = start(folder, 600)
    deadline = time.monotonic() + 60
    while not (tmp_path / "code.unfinished" / "first").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.communicate(timeout=60)
    assert not folder.exists()
    assert start(folder, 0).communicate(timeout=60)[0] == "['first', 'second']\n"


def test_a_build_that_fails_leaves_nothing_that_counts(tmp_path):
    """The next process tries again."""
    folder = tmp_path / "code"

    def broken(unfinished):
        (unfinished / "half").touch()
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        built_once(folder, broken, print)
    assert built_once(folder, lambda unfinished: (unfinished / "whole").touch(), print) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]
