"""Rasterization on a CPU, twice: in PyTorch, which is the reference, and compiled by numba.

`../rasterizer.py` has the signature and chooses. Open `pytorch.py` first, then `compiled.py`, whose
loops are in `kernels.py`; `compiled_code.py` keeps the machine code. `constants.py`,
`compiled_code.py` and `kernels.py` import no torch.
"""
