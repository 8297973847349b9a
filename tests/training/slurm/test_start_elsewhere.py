"""A job that ends before training/run.py begins is started elsewhere by its shell.

The shell is real; `scontrol`, `sbatch` and `squeue` are scripts that write down how they are
called. On a real Slurm: tests/slurm/test_slurm_bad_nodes.py.
"""

from __future__ import annotations

import os
import stat
import subprocess

import pytest
from script_shapes import bash

from training.slurm import start_elsewhere
from training.slurm.forwarding import with_forwarding
from training.slurm.start_elsewhere import Elsewhere

BEGINS = ': >"${TS_JOB_ENTRY%.entry}.began"'
CALLED = """#!/bin/sh
echo "${0##*/} $*" >>%s
%s
"""


@pytest.fixture
def end_job(tmp_path, monkeypatch):
    """Run a job on a node; return its exit status and the calls of Slurm."""
    monkeypatch.setattr(start_elsewhere, "WAIT_S", 2)
    monkeypatch.setattr(start_elsewhere, "HOLD_S", 0)
    commands, calls = tmp_path / "commands", tmp_path / "calls"
    commands.mkdir()

    def install(name: str, does: str) -> None:
        (commands / name).write_text(CALLED % (calls, does))
        (commands / name).chmod(stat.S_IRWXU)

    def run(node="n1", lines=("exit 3",), stage="array", first="#!/bin/sh -eu", **slurm):
        says = {"scontrol": "", "sbatch": "", "squeue": "echo 12_3"} | slurm
        for name, does in says.items():
            install(name, does)
        calls.write_text("")
        text = bash(*lines, first=first)
        script = tmp_path / "job.slurm"
        elsewhere = Elsewhere("bad9", ["--partition=gpu"])
        script.write_text(with_forwarding(text, tmp_path, elsewhere=elsewhere))
        script.chmod(stat.S_IRWXU)
        variables = {"SLURM_JOB_ID": "15", "SLURMD_NODENAME": node, "SLURM_CONF": "/c"}
        variables |= {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
        done = subprocess.run(
            [script, "--in-job", stage, f"{tmp_path}/exp-1.json", "0"],
            env={**os.environ, **variables, "PATH": f"{commands}:{os.environ['PATH']}"},
            timeout=60,
            check=False,
        )
        script_calls = calls.read_text().replace(str(script), "SCRIPT").splitlines()
        return done.returncode, [call for call in script_calls if "squeue" not in call]

    return run


def expected(nodes: str) -> list[str]:
    return [
        f"sbatch --test-only --partition=gpu --exclude={nodes} SCRIPT",
        "scontrol requeue 12_3",
        f"scontrol update JobId=12 ExcNodeList={nodes}",
    ]


@pytest.mark.parametrize("first", ["#!/bin/sh -eu", "#!/bin/bash"])
def test_a_job_that_could_not_begin_is_requeued_without_its_node(end_job, tmp_path, first):
    """All that its array has in the queue keeps off all such nodes, beside the script's own."""
    assert end_job("n1", first=first) == (3, expected("bad9,n1"))
    assert end_job("n2", first=first) == (3, expected("bad9,n1,n2"))
    assert (tmp_path / "starts" / "n1.failed").read_text() == "12_3\n"


@pytest.mark.parametrize(
    ("lines", "stage", "status"),
    [
        ((BEGINS, "exit 3"), "array", 3),
        (("exit 0",), "array", 0),
        (("exit 3",), "worker", 3),
        (("kill -TERM $PPID", "sleep 5"), "array", 143),
    ],
)
def test_other_ends_are_no_early_ends(end_job, tmp_path, lines, stage, status):
    """It began, it succeeded, its flow replaces it, or Slurm told it to end."""
    assert end_job(lines=lines, stage=stage) == (status, [])
    assert not list(tmp_path.glob("*.began"))


def test_where_three_nodes_agree_no_node_is_at_fault(end_job, tmp_path):
    """Unless a job has begun somewhere, perhaps while the last of them waits."""
    for node in ("n1", "n2"):
        end_job(node)
    assert end_job("n3") == (3, [])
    assert end_job("n4") == (3, [])
    begins = f": >{tmp_path}/starts/began; rm -f {tmp_path}/starts/hopeless; printf '1\\n2\\n'"
    (tmp_path / "starts" / "hopeless").unlink()
    assert end_job("n5", squeue=begins) == (3, expected("bad9,n1,n2,n3,n4,n5"))


def test_a_job_for_which_no_other_node_is_left_is_not_requeued(end_job):
    """It would wait for ever."""
    says = "echo allocation failure: Requested node configuration is not available; exit 1"
    status, calls = end_job(sbatch=says)
    assert (status, len(calls)) == (3, 1)


def test_a_job_that_can_not_be_requeued_ends_as_it_did(end_job):
    """After it has held its node for a while, so that others of its array begin elsewhere."""
    assert end_job(scontrol="exit 1") == (3, expected("bad9,n1")[:2])


def test_nothing_of_a_cancelled_plan_is_started_again(end_job, tmp_path):
    (tmp_path / "exp-1.cancelled").touch()
    assert end_job() == (3, [])
