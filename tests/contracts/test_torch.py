"""What `torch_adapter.py` does to PyTorch, and `torchmetrics_adapter.py` to torchmetrics.

A failure means that each start of a trainer takes a second longer, or that `torch.compile` would
not do any more what PyTorch means it to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from contract import contract

CHECKOUT = Path(__file__).resolve().parents[2]
TRAINER = """
import json, sys
from preprocess.torch_adapter import defer_compiler
defer_compiler()
import roma, torch
from training.trainer.evaluation.metrics import psnr

weight = torch.nn.Parameter(torch.eye(3))
optimizer = torch.optim.Adam([weight])
exempt = torch._dynamo.disable(lambda matrix: matrix.cosh())

def step(matrix):
    optimizer.zero_grad()
    return exempt(roma.special_procrustes(matrix + weight)).sum() * 2

step(torch.eye(3)).backward()
optimizer.step()
psnr(torch.zeros(4, 4, 3), torch.ones(4, 4, 3))
eager = sorted({name.partition(".")[0] for name in sys.modules} & {"sympy", "matplotlib"})
graphs = []

def backend(graph, _inputs):
    graphs.append(" ".join(node.name for node in graph.graph.nodes if "call" in node.op))
    return graph.forward

expected, compiled = step(torch.eye(3)), torch.compile(step, backend=backend)(torch.eye(3))
same = bool(expected == compiled) and "sympy" in sys.modules
print(json.dumps({"eager": eager, "same": same, "graphs": graphs}))
"""


def test_the_compiler_is_imported_by_what_compiles_alone():
    """A training step imports neither it nor matplotlib; compiled, exempt functions stay so."""
    command = [sys.executable, "-c", TRAINER]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    with contract("torch", "_dynamo", "preprocess/torch_adapter.py", "for a quick start"):
        assert ended.returncode == 0, ended.stderr
        found = json.loads(ended.stdout)
        assert "sympy" not in found["eager"]
        assert found["same"]
        assert any("mul" in graph.split() for graph in found["graphs"])
        assert not any("cosh" in graph for graph in found["graphs"]), found["graphs"]
    needed_by = "training/trainer/evaluation/torchmetrics_adapter.py"
    with contract("torchmetrics", "_MATPLOTLIB_AVAILABLE", needed_by, "for a quick start"):
        assert found["eager"] == []
