"""Which GPUs may be used, and where the lock of each is."""

from __future__ import annotations

import os

import pytest

from training.system import gpus
from training.system.gpus import lock_file, visible_gpus, whole_name, with_device_order


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("0,2", ("0", "2")),
        (" MIG-1 , 3 ", ("MIG-1", "3")),
        ("GPU-8932f937", ("GPU-8932f937",)),
        ("MIG-GPU-8932f937/1/0", ("MIG-GPU-8932f937/1/0",)),
        ("0,NoDevFiles,1", ("0",)),
        ("0,-1,1", ("0",)),
        *[(no_id, ()) for no_id in ("", "-1", "NoDevFiles", "none", "void", "all", "GPU-", ",0")],
    ],
)
def test_the_users_choice_of_gpus_counts(value, found):
    """CUDA_VISIBLE_DEVICES as CUDA reads it: up to the first word that is no id."""
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == found


@pytest.mark.parametrize(
    ("script", "found"), [("printf '0\\n1\\n'", ("0", "1")), ("echo no driver; exit 9", ())]
)
def test_without_a_choice_the_driver_is_asked(tmp_path, monkeypatch, script, found):
    """A driver that fails means no GPU, not an error; nor does a machine without one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == ()
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    assert visible_gpus({}) == found


LISTED = """
GPU 0: NVIDIA H200 (UUID: GPU-77aa-1)
  MIG 1g.18gb     Device  0: (UUID: MIG-5c-1)
GPU 1: NVIDIA H200 (UUID: GPU-77bb-1)
"""


def test_a_gpu_has_one_lock_whatever_it_is_called(tmp_path, monkeypatch):
    """By index, by UUID or its beginning; inside a Slurm job indices are the job's own."""
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\necho '{LISTED}'\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    gpus._names.cache_clear()
    try:
        assert whole_name("0") == "0"
        command.chmod(0o755)  # a driver that did not answer may do so later
        assert lock_file("0") == lock_file("GPU-77a") == lock_file("GPU-77aa-1") != lock_file("1")
        assert lock_file("MIG-5c") == lock_file("MIG-5c-1") != lock_file("0")
        assert lock_file("GPU-77") not in (lock_file("0"), lock_file("1")), "no single GPU's"
        assert whole_name("1", {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}) == "1"
        outside = lock_file("0")
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        assert outside != lock_file("0")
    finally:
        gpus._names.cache_clear()


def test_trainers_number_gpus_as_the_driver_does():
    """Unless the user has said how."""
    assert with_device_order({})["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert with_device_order({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}) == {
        "CUDA_DEVICE_ORDER": "FASTEST_FIRST"
    }


def test_a_folder_of_somebody_else_holds_no_lock_of_ours(tmp_path, monkeypatch):
    """Whoever made it first in /tmp could lend GPUs as they like."""
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    (tmp_path / f"training-scheduler-{os.getuid()}").symlink_to(tmp_path)
    assert lock_file("0") is None
