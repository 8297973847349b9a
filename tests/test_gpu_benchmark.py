"""The script that makes all GPU figures works, as far as that can be seen without a GPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def benchmark():
    found = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look it up
    found.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so(benchmark, monkeypatch, capsys):
    """Exit status 2 and the way out, at once."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main([]) == 2
    error = capsys.readouterr().err
    assert "no GPU" in error
    assert "--device cpu --size tiny" in error


@pytest.mark.training
def test_every_number_is_made_and_kept(benchmark, tmp_path, capsys, monkeypatch):
    """On CPU, tiny: all sections in Markdown and JSON, and rasterizers that agree."""
    monkeypatch.setattr(benchmark.SignalRequests, "install_handlers", lambda _: None)
    arguments = ["--device", "cpu", "--size", "tiny", "--output", str(tmp_path)]
    assert benchmark.main(arguments) == 0
    numbers = json.loads((tmp_path / "gpu.json").read_text())
    assert all(row["agrees"] for row in numbers["differences"].values())
    assert numbers["training"]["Gaussians"] == 120
    rates = [value for name, value in numbers["training"].items() if "/s" in name]
    assert len(rates) == 4
    assert all(rate > 0 for rate in rates)
    assert numbers["whole training"][0]["PSNR, dB"] > 5
    page = (tmp_path / "gpu.md").read_text()
    assert page in capsys.readouterr().out
    assert page.count("## ") == 4


def test_a_gpu_that_draws_something_else_is_a_failure(benchmark, monkeypatch, capsys):
    """Exit status 1, with all numbers."""
    row = benchmark.difference("image", [torch.tensor([0.0, 0.2])])
    assert row["agrees"] is False
    numbers = {
        "machine": {"device": "CPU"},
        "differences": {"image": row},
        "rendering, ms": [{"cpu": 1.0}],
        "training": {"pixels": "1 x 1"},
        "whole training": [{"device": "cpu"}],
    }
    monkeypatch.setattr(benchmark, "measure", lambda *_: numbers)
    assert benchmark.main(["--device", "cpu"]) == 1
    assert "| image | 0.1 | 0.2 | False |" in capsys.readouterr().out
