"""The model: people's canonical Gaussians, posed by a parametric body and rendered.

Open `model.py` first, then `render.py` and `rasterizer.py` (exact on CPU, by what is in
`cpu_rasterizer/`; gsplat on CUDA); `surface.py` places the initial Gaussians, `visibility.py`
colours hidden ones, `ply_export.py` writes them out. Of the trainer it may use `cameras`, `config`
and `output_files`.
"""
