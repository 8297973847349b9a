"""Compile the rasterizer for this machine and keep its code below the state root.

`python -m training.trainer.gaussians.cpu_rasterizer`; it imports no torch.
"""

from __future__ import annotations

from preprocess.roots import resolve_root_folders
from training.trainer.gaussians.cpu_rasterizer.compiled_code import load_kernels

if __name__ == "__main__":
    load_kernels(resolve_root_folders({})["state_root"])
