"""What `training/trainer/gaussians/gsplat_adapter.py` uses of gsplat, and hands to its CUDA code.

A failure means that the installed gsplat has changed, or that a GPU would not draw what the CPU
draws. No GPU is needed: gsplat's compiled functions are replaced by PyTorch (gsplat_kernels.py).
"""

from __future__ import annotations

import inspect
import math

import gsplat_kernels
import pytest
import torch
from contract import contract
from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.config.schema import CpuRasterizer
from training.trainer.gaussians.gsplat_adapter import (
    compute_relocation,
    rasterize_gsplat,
    spherical_harmonics,
    strategies_on,
)
from training.trainer.gaussians.rasterizer import Rasterize, RasterOutput, cpu_rasterizer

ADAPTER = "training/trainer/gaussians/gsplat_adapter.py"
WIDTH, HEIGHT = 35, 20
"""More than one tile of 16 pixels each way, and no whole number of them."""

pytest.importorskip("gsplat", reason="gsplat is not installed")


def camera() -> Camera:
    viewmat = torch.eye(4)
    viewmat[0, 0] = viewmat[2, 2] = math.cos(0.3)
    viewmat[0, 2], viewmat[2, 0] = math.sin(0.3), -math.sin(0.3)
    viewmat[:3, 3] = torch.tensor([-0.9, 0.1, 0.4])
    intrinsics = torch.tensor([[30.0, 0, 16.2], [0, 28.0, 11.1], [0, 0, 1.0]])
    return Camera(viewmat, intrinsics, WIDTH, HEIGHT)


def cloud(count: int) -> list[Tensor]:
    """Gaussians of which some are behind the camera, outside the image, or hardly opaque."""
    generator = torch.Generator().manual_seed(7)
    means = torch.randn(count, 3, generator=generator) * torch.tensor([1.5, 0.8, 1.2])
    means = means + torch.tensor([0.0, 0.0, 2.0])
    factors = torch.randn(count, 3, 3, generator=generator) * 0.1
    opacities = torch.rand(count, generator=generator)
    opacities[::9] = 0.003
    return [means, factors, opacities, torch.rand(count, 5, generator=generator)]


def drawn(rasterize: Rasterize) -> tuple[RasterOutput, list[Tensor]]:
    """Return what is drawn, and the gradients of everything, shifts last."""
    means, factors, opacities, features = [part.requires_grad_() for part in cloud(80)]
    shifts = torch.zeros(80, 2, requires_grad=True)
    covars = factors @ factors.mT + 1e-4 * torch.eye(3)
    seen = RasterOutput(*rasterize(means, covars, opacities, features, camera(), shifts=shifts))
    weight = torch.arange(WIDTH) / WIDTH
    loss = (seen.features.square().sum(-1) + seen.depth + seen.alpha) * weight
    torch.autograd.backward(loss.sum())
    gradients = [part.grad for part in (means, factors, opacities, features, shifts)]
    assert all(gradient is not None for gradient in gradients)
    return seen, gradients


@pytest.mark.parametrize("choice", ["pytorch", "compiled"])
def test_gsplat_draws_what_the_cpu_draws(
    monkeypatch: pytest.MonkeyPatch, choice: CpuRasterizer
) -> None:
    """Image, depth, alpha and every gradient: what we hand to gsplat is what it takes."""
    calls = gsplat_kernels.install(monkeypatch)
    with contract("gsplat", "rasterization", ADAPTER, "to render on CUDA"):
        by_gsplat, its_gradients = drawn(rasterize_gsplat)
    ours, our_gradients = drawn(cpu_rasterizer(choice))
    assert set(calls) == {
        "projection_ewa_3dgs_fused_fwd",
        "projection_ewa_3dgs_fused_bwd",
        "intersect_tile",
        "intersect_offset",
        "rasterize_to_pixels_3dgs_fwd",
        "rasterize_to_pixels_3dgs_bwd",
    }
    assert ours.alpha.max() > 0.9
    for name in ("features", "depth", "alpha"):
        mine, theirs = getattr(ours, name), getattr(by_gsplat, name)
        assert theirs.shape == mine.shape
        torch.testing.assert_close(theirs, mine, atol=2e-5, rtol=1e-5)
    for mine, theirs in zip(our_gradients, its_gradients, strict=True):
        assert mine.abs().max() > 0.01
        torch.testing.assert_close(theirs, mine, atol=2e-4, rtol=2e-3)


def test_gradient_of_one_feature_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As visibility.py asks for it: weights of the Gaussians, nothing else needs a gradient."""
    gsplat_kernels.install(monkeypatch)
    means, factors, opacities, _ = cloud(80)
    weights = []
    for function in (rasterize_gsplat, cpu_rasterizer("auto")):
        marks = torch.ones(80, 1, requires_grad=True)
        covars = factors @ factors.mT + 1e-4 * torch.eye(3)
        features, _, _ = function(means, covars, opacities, marks, camera())
        weights += torch.autograd.grad(features.sum(), marks)
    torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_spherical_harmonics_are_orthonormal(degree: int) -> None:
    """Over the sphere the product of two integrates to 1 for the same one, else to 0."""
    count = (degree + 1) ** 2
    directions = torch.nn.functional.normalize(
        torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    each = torch.eye(count)[None, ..., None].expand(len(directions), count, count, 3)
    with contract("gsplat", "_torch_impl._spherical_harmonics", ADAPTER, "for colours"):
        values = torch.stack(
            [spherical_harmonics(degree, directions, each[:, i]) for i in range(count)], dim=-1
        )[:, 0]
    products = values.T @ values / len(directions) * 4 * math.pi
    torch.testing.assert_close(products, torch.eye(count), atol=0.05, rtol=0)


def test_relocation_is_the_kernel_s_formula() -> None:
    """Against csrc/RelocationCUDA.cu, written out loop by loop."""
    from gsplat import MCMCStrategy

    binoms = MCMCStrategy().initialize_state()["binoms"]
    opacities, scales = torch.tensor([0.1, 0.5, 0.9, 0.7]), torch.rand(4, 3) + 0.1
    ratios = torch.tensor([1, 2, 3, 7])
    new_opacities, new_scales = compute_relocation(opacities, scales, ratios, binoms)
    for i, copies in enumerate(ratios.tolist()):
        opacity = 1 - (1 - float(opacities[i])) ** (1 / copies)
        total = sum(
            math.comb(row - 1, k) * (-1) ** k / math.sqrt(k + 1) * opacity ** (k + 1)
            for row in range(1, copies + 1)
            for k in range(row)
        )
        assert new_opacities[i].item() == pytest.approx(opacity, abs=1e-6)
        expected = scales[i] * float(opacities[i]) / total
        torch.testing.assert_close(new_scales[i], expected, atol=1e-5, rtol=1e-5)


def test_strategies_get_their_own_kernels_back() -> None:
    from gsplat.strategy import ops

    kernels = ops.compute_relocation, ops.quat_scale_to_covar_preci
    with contract("gsplat", "strategy.ops", ADAPTER, "for MCMC on CPU"):
        signatures = [inspect.signature(kernel) for kernel in kernels]
        with strategies_on(torch.device("cpu")):
            replaced = ops.compute_relocation, ops.quat_scale_to_covar_preci
        for signature, function in zip(signatures, replaced, strict=True):
            assert list(signature.parameters) == list(inspect.signature(function).parameters)
    assert (ops.compute_relocation, ops.quat_scale_to_covar_preci) == kernels
    assert replaced[0] is compute_relocation


def test_this_torch_compiles_this_gsplat() -> None:
    """gsplat calls an internal function of PyTorch, whose arguments have changed before."""
    from torch.utils.cpp_extension import _jit_compile

    with contract("torch", "_jit_compile", "gsplat/cuda/_backend.py", "to be compiled at all"):
        inspect.signature(_jit_compile).bind(
            "name", [], [], [], None, [], [], "folder", False,
            with_cuda=None, with_sycl=None, is_python_module=True, is_standalone=False,
            keep_intermediates=True,
        )  # fmt: skip
