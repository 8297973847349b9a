"""The model: people's canonical Gaussians, posed by a parametric body and rendered.

Open `model.py` first, then `render.py` and `rasterizer.py` (exact on CPU, by what is in
`cpu_rasterizer/`; gsplat on CUDA); `surface.py` places the initial Gaussians, `visibility.py`
colours hidden ones, `densification.py` adds and removes some, `ply_export.py` writes them out. What
gsplat needs is in `gsplat_adapter.py` (its functions) and `gsplat_extension.py` (its CUDA code). Of
the trainer it may use `cameras`, `config`, `output_files` and `termination`.
"""
