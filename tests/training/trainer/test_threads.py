"""Threads of several trainers on one machine do not take the cores from each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
PREPARE = """
from types import SimpleNamespace
from training.simple_multi_human_trainer import _prepare_computing
_prepare_computing(SimpleNamespace(cpu_rasterizer="auto"))
import torch
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(("set_by_user", "spins"), [("", "0"), ("ACTIVE", "30000000000")])
def test_threads_wait_without_spinning_unless_the_user_says_so(set_by_user, spins):
    """By what OpenMP says that it has read: how often a thread looks for work before it sleeps."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", "SLURM_CPUS_PER_TASK": "2"}
    if set_by_user:
        environment["OMP_WAIT_POLICY"] = set_by_user
    ended = subprocess.run(
        [sys.executable, "-c", PREPARE],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in ended.stderr
    assert ended.stdout == "2\n"
