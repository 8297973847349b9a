"""Printing ends no program, whatever the terminal or the reader is like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from training.system.console import say

PRINT = "from training.system.console import *; escape_unencodable()\n"


def run(script, **more):
    return subprocess.run(
        [sys.executable, "-c", PRINT + script], text=True, check=False, timeout=60, **more
    )


def test_a_reader_that_has_gone_ends_nothing():
    """As with `| head`: what is printed later is discarded, and the exit status is the work's."""
    script = "import sys\nfor i in range(10_000): say(str(i))\nsys.exit(7)"
    program = [sys.executable, "-c", PRINT + script]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.wait(60) == 7
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_full_disk_ends_nothing():
    """Standard output is a file on it."""
    with Path("/dev/full").open("w") as full:
        assert run("say('x'); say('y')", stdout=full, stderr=subprocess.PIPE).returncode == 0


def test_output_that_was_closed_gets_into_no_file(tmp_path):
    """`>&-`: the next file that is opened would have its number; children print nowhere too."""
    file = tmp_path / "file"
    script = (
        "import os, subprocess\nopen_closed_streams()\n"
        f"stream = open({str(file)!r}, 'w')\nprint('lost')\nsubprocess.run(['echo', 'lost'])\n"
        "say('lost')\nassert not is_terminal(sys.stdout)"
    )
    command = [sys.executable, "-c", "import sys\n" + PRINT + script]
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        check=False,
        timeout=60,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (ended.returncode, ended.stderr, file.read_text()) == (0, "", "")


def test_a_closed_stream_ends_nothing(tmp_path):
    """A program that is being ended may have closed it."""
    with (tmp_path / "out").open("w") as stream:
        pass
    say("x", stream)


def test_letters_that_the_terminal_lacks_are_escaped():
    """Names of scenes may have any letter."""
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = run("say('Müller …')", capture_output=True, env=environment)
    assert (result.returncode, result.stdout) == (0, "M\\xfcller \\u2026\n")
