"""Which GPUs may be used, and that each is lent to one borrower."""

from __future__ import annotations

import queue

import pytest

from training.system.gpus import GpuSlots, visible_gpus


@pytest.mark.parametrize(
    ("value", "gpus"),
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
def test_the_users_choice_of_gpus_counts(value, gpus):
    """CUDA_VISIBLE_DEVICES as CUDA reads it: up to the first word that is no id."""
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == gpus


@pytest.mark.parametrize(
    ("script", "gpus"), [("printf '0\\n1\\n'", ("0", "1")), ("echo no driver; exit 9", ())]
)
def test_without_a_choice_the_driver_is_asked(tmp_path, monkeypatch, script, gpus):
    """A driver that fails means no GPU, not an error; nor does a machine without one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == ()
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    assert visible_gpus({}) == gpus


def test_a_gpu_is_lent_to_one_borrower_at_a_time():
    """And is free again when the borrower fails."""
    slots = GpuSlots(["0", "1"])
    with slots.lend() as first, slots.lend() as second:
        assert {first, second} == {"0", "1"}
        with pytest.raises(queue.Empty), slots.lend():
            pytest.fail("lent twice")
    with pytest.raises(RuntimeError), slots.lend():
        raise RuntimeError
    with slots.lend(), slots.lend():
        pass


def test_without_gpus_any_number_may_borrow_nothing():
    """Scenes run on the CPU."""
    slots = GpuSlots([])
    with slots.lend() as first, slots.lend() as second:
        assert (first, second) == (None, None)
