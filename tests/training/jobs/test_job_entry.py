"""The beginning of a job, in a process of its own: which copy works, and who gets the signals."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from preprocess.roots import CHECKOUT

SHOW = """
import os, signal, sys
sys.path.insert(0, {checkout!r})
from training.jobs import job_entry
job_entry.MODULES["probe"] = "json.tool"
os.execv = lambda _, command: print(command, signal.getsignal(signal.SIGINT) == signal.SIG_DFL)
job_entry.exec_job_stage(["--in-job", "probe", "/plan.json"])
"""


def begin(**environment: str) -> str:
    """Return what the beginning of a job prints, with SIGINT ignored as in a background job."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    result = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable,
         SHOW.format(checkout=str(CHECKOUT))],
        env={**outside, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )  # fmt: skip
    return result.stdout


@pytest.mark.parametrize("number", ["1", "7"])
def test_further_copies_that_srun_starts_step_aside(number):
    """With exit status 0, or the job of a scene that is done would be a failed one."""
    assert begin(SLURM_PROCID=number) == f"task {number} of this job steps aside: one is enough\n"


@pytest.mark.parametrize("environment", [{}, {"SLURM_PROCID": "0"}, {"SLURM_PROCID": ""}])
def test_the_first_copy_works(environment):
    """So does a script without srun, where Slurm counts from 0 as well."""
    assert "json.tool" in begin(**environment)


def test_it_registers_for_signals_where_the_script_asks(tmp_path):
    """And a launcher can stop trainers by SIGINT, which a shell's background job ignores."""
    file = tmp_path / "7-0.entry"
    assert "True" in begin(TS_JOB_ENTRY=str(file))
    assert file.read_text().strip().isdecimal()
    assert "True" in begin(TS_JOB_ENTRY=str(tmp_path / "nowhere" / "7-0.entry"))
