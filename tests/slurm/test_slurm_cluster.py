"""The private Slurm does what the other tests rely on."""

from __future__ import annotations


def test_a_job_gets_its_fake_gpu(slurm, tmp_path):
    script = tmp_path / "job"
    script.write_text("#!/bin/sh\necho $CUDA_VISIBLE_DEVICES\n", encoding="utf-8")
    out = tmp_path / "out"
    slurm.call("sbatch", "--wait", "--gres=gpu:1", f"--output={out}", str(script))
    assert out.read_text(encoding="utf-8") == "0\n"
