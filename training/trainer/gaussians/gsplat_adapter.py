"""Everything of gsplat that we use beyond its documented interface, and how we call the rest.

`tests/contracts/test_gsplat.py` holds what must stay true of gsplat for this module to work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.cpu_rasterizer.constants import EPS2D, NEAR_PLANE
from training.trainer.gaussians.gsplat_extension import load_extension


def rasterize_gsplat(
    means: Tensor,
    covars: Tensor,
    opacities: Tensor,
    features: Tensor,
    camera: Camera,
    *,
    shifts: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (H, W, D), depth (H, W) and alpha (H, W) as `rasterizer.rasterize` does."""
    load_extension()
    from gsplat import rasterization

    features_and_depth, alpha, info = rasterization(
        means=means,
        quats=None,
        scales=None,
        opacities=opacities,
        colors=features,
        viewmats=camera.viewmat[None],
        Ks=camera.intrinsics[None],
        width=camera.width,
        height=camera.height,
        near_plane=NEAR_PLANE,
        eps2d=EPS2D,
        render_mode="RGB+D",
        covars=covars,
        packed=False,  # info has a row for each Gaussian
    )
    if shifts is not None and info["means2d"].requires_grad:
        info["means2d"].register_hook(lambda gradient: _keep_gradient(shifts, gradient[0]))
    return features_and_depth[0, ..., :-1], features_and_depth[0, ..., -1], alpha[0, ..., 0]


def _keep_gradient(shifts: Tensor, gradient: Tensor) -> None:
    shifts.grad = gradient.clone()


def spherical_harmonics(degree: int, directions: Tensor, coefficients: Tensor) -> Tensor:
    """Return the sums (N, 3) of real spherical harmonics in any directions (N, 3), not zero.

    coefficients (N, (degree + 1)², 3), in the order that 3DGS files have. This is gsplat's PyTorch
    function, the same on both devices.
    """
    from gsplat.cuda._torch_impl import _spherical_harmonics

    sums: Tensor = _spherical_harmonics(degree, directions, coefficients)
    return sums


@contextmanager
def strategies_on(device: torch.device) -> Iterator[None]:
    """Have gsplat's strategies work on `device`: on CPU with PyTorch for their two CUDA kernels."""
    if device.type == "cuda":
        yield
        return
    from gsplat.cuda._torch_impl import _quat_scale_to_covar_preci
    from gsplat.strategy import ops

    kernels = {
        "compute_relocation": compute_relocation,
        "quat_scale_to_covar_preci": _quat_scale_to_covar_preci,
    }
    kept = {name: getattr(ops, name) for name in kernels}
    try:
        vars(ops).update(kernels)
        yield
    finally:
        vars(ops).update(kept)


def compute_relocation(
    opacities: Tensor, scales: Tensor, ratios: Tensor, binoms: Tensor
) -> tuple[Tensor, Tensor]:
    """Return opacities (M,) and scales (M, 3) of Gaussians that `ratios` (M,) of take the place of.

    Equation 9 of Kheradmand et al., 3D Gaussian Splatting as Markov Chain Monte Carlo (2024), for
    gsplat's CUDA kernel of the same name; float64 inside. `binoms` (n, n): binomial coefficients.
    """
    copies = ratios.clamp(1, len(binoms)).long()
    shared = 1 - (1 - opacities.double()) ** (1 / copies)
    power = torch.arange(len(binoms), device=opacities.device)
    terms = (-1.0) ** power / (power + 1.0).sqrt() * shared[:, None] ** (power + 1)
    row_sums = terms @ binoms.to(terms).T  # of each i - 1 in the paper
    denominator = torch.where(power < copies[:, None], row_sums, 0.0).sum(-1)
    factor = opacities.double() / denominator
    return shared.to(opacities.dtype), (factor[:, None] * scales).to(scales.dtype)
