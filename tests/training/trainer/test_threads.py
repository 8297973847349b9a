"""Threads of several trainers on one machine do not take the cores from each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
TRAIN = """
import sys
from training.simple_multi_human_trainer import main
status = main(sys.argv[1:])
import torch
print("ended", status, torch.get_num_threads())
"""
SHORT = (
    "train.optimization.epochs=1",
    "train.evaluation.eval_cameras=[4]",
    "train.evaluation.eval_frames=[1]",
)


@pytest.mark.parametrize(("set_by_user", "spins"), [("", "0"), ("ACTIVE", "30000000000")])
def test_threads_wait_without_spinning_unless_the_user_says_so(tiny_scene, set_by_user, spins):
    """By what OpenMP says that it has read: how often a thread looks for work before it sleeps.

    It is read when torch is loaded, which the checks of a run's data do first.
    """
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", "SLURM_CPUS_PER_TASK": "2"}
    if set_by_user:
        environment["OMP_WAIT_POLICY"] = set_by_user
    ended = subprocess.run(
        [sys.executable, "-c", TRAIN, *tiny_scene.arguments(*SHORT)],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", ended.stderr)
    assert set(found) == {spins}, found  # FLIP's package brings an OpenMP library of its own
    assert ended.stdout.endswith("ended 0 2\n")
