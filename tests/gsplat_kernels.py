"""gsplat's compiled functions in PyTorch, so that its `rasterization` runs without a GPU.

Where gsplat has a PyTorch reference (`gsplat.cuda._torch_impl`) that is used; which pairs of pixel
and Gaussian count is written after its CUDA source, csrc/RasterizeToPixels3DGSFwd.cu. Gradients are
those of autograd. Every argument must be what the CUDA code reads without a check: float32 or
int32, contiguous, of the documented shape.
"""

# ruff: noqa: N803, PLR0917 - as gsplat's are called

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

UPPER = [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]
ALPHA_THRESHOLD = 1 / 255


def install(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put them in the place of gsplat's compiled code; return the names of the calls to come."""
    calls: list[str] = []
    compiled = SimpleNamespace(CameraModelType=None, PINHOLE="pinhole")
    for function in (
        projection_ewa_3dgs_fused_fwd,
        projection_ewa_3dgs_fused_bwd,
        intersect_tile,
        intersect_offset,
        rasterize_to_pixels_3dgs_fwd,
        rasterize_to_pixels_3dgs_bwd,
    ):
        setattr(compiled, function.__name__, _recorded(function, calls))
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", SimpleNamespace(_C=compiled))
    monkeypatch.setitem(sys.modules, "gsplat.csrc", compiled)
    return calls


def _recorded(function, calls):
    def call(*arguments):
        calls.append(function.__name__)
        for argument in arguments:
            if isinstance(argument, Tensor):
                assert argument.is_contiguous(), f"{function.__name__}: not contiguous"
                assert argument.dtype in {torch.float32, torch.int32, torch.int64}, argument.dtype
        return function(*arguments)

    return call


def projection_ewa_3dgs_fused_fwd(
    means, covars, quats, scales, opacities, viewmats, Ks, width, height, eps2d, near, far, clip,
    calc_compensations, camera_model,
):  # fmt: skip
    assert quats is scales is None
    assert not calc_compensations
    assert clip == 0
    assert camera_model == "pinhole"
    count = len(means)
    shapes = {"covars": (count, 6), "opacities": (count,), "viewmats": (1, 4, 4), "Ks": (1, 3, 3)}
    given = {"covars": covars, "opacities": opacities, "viewmats": viewmats, "Ks": Ks}
    assert {name: tuple(value.shape) for name, value in given.items()} == shapes
    means2d, depths, conics, covars2d = _project(
        means, covars, viewmats, Ks, width, height, eps2d, near, far
    )
    sigmas = (2 * (opacities / ALPHA_THRESHOLD).clamp(min=1).log()).sqrt().clamp(max=3.33)
    radii = (sigmas[None, :, None] * covars2d).ceil()
    outside = (means2d + radii <= 0) | (means2d - radii >= torch.tensor([width, height]))
    hidden = outside.any(-1) | (depths < near) | (opacities < ALPHA_THRESHOLD)
    radii[hidden] = 0
    for values in (means2d, depths, conics):
        values[hidden] = torch.nan  # CUDA leaves what was in memory
    return radii.int(), means2d, depths, conics, None


def _project(means, covars, viewmats, Ks, width, height, eps2d, near, far):
    from gsplat.cuda._torch_impl import _fully_fused_projection

    full = torch.zeros(len(means), 3, 3)
    full[:, UPPER[0], UPPER[1]] = covars
    full[:, UPPER[1], UPPER[0]] = covars
    _, means2d, depths, conics, _ = _fully_fused_projection(
        means, full, viewmats, Ks, width, height, eps2d, near, far
    )
    determinant = conics[..., 0] * conics[..., 2] - conics[..., 1] ** 2
    spreads = (torch.stack([conics[..., 2], conics[..., 0]], -1) / determinant[..., None]).sqrt()
    return means2d, depths, conics, spreads.detach()


def projection_ewa_3dgs_fused_bwd(
    means, covars, _quats, _scales, viewmats, Ks, width, height, eps2d, _model, radii, _conics,
    _compensations, v_means2d, v_depths, v_conics, _v_compensations, _needs_viewmats,
):  # fmt: skip
    drawn = (radii > 0).all(-1)[0]
    inputs = [means.detach()[drawn].requires_grad_(), covars.detach()[drawn].requires_grad_()]
    with torch.enable_grad():
        outputs = _project(*inputs, viewmats, Ks, width, height, eps2d, 0.01, 1e10)[:3]
        given = [v_means2d[:, drawn], v_depths[:, drawn], v_conics[:, drawn]]
        gradients = torch.autograd.grad(outputs, inputs, given)
    v_means, v_covars = torch.zeros_like(means), torch.zeros_like(covars)
    v_means[drawn], v_covars[drawn] = gradients
    return v_means, v_covars, None, None, None


def intersect_tile(
    means2d, radii, depths, _image_ids, _gaussian_ids, images, tile_size, width, height, sort,
    segmented,
):  # fmt: skip
    from gsplat.cuda._torch_impl import _isect_tiles

    assert (images, sort, segmented) == (1, True, False)
    # The reference looks at all values, also at what is not drawn.
    drawn = (radii > 0).all(-1)
    means2d = torch.where(drawn[..., None], means2d, 0.0)
    return _isect_tiles(
        means2d, radii, torch.where(drawn, depths, 1.0), tile_size, width, height, sort
    )


def intersect_offset(isect_ids, images, width, height):
    from gsplat.cuda._torch_impl import _isect_offset_encode

    return _isect_offset_encode(isect_ids, images, width, height)


def rasterize_to_pixels_3dgs_fwd(
    means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, offsets, ids
):
    assert backgrounds is masks is None
    arguments = means2d[0], conics[0], colors[0], opacities[0]
    pairs = _pairs(*arguments, width, height, tile_size, offsets, ids)
    sums = _composite(*arguments, *pairs, width, height)
    colors, alphas = sums[None, ..., :-1].contiguous(), sums[None, ..., -1:].contiguous()
    return colors, alphas, torch.zeros(1, height, width).int()


def rasterize_to_pixels_3dgs_bwd(
    means2d, conics, colors, opacities, _backgrounds, _masks, width, height, tile_size, offsets,
    ids, _alphas, _last_ids, v_colors, v_alphas, absgrad,
):  # fmt: skip
    assert not absgrad
    arguments = [value[0].detach() for value in (means2d, conics, colors, opacities)]
    pairs = _pairs(*arguments, width, height, tile_size, offsets, ids)
    drawn = pairs[0].unique()
    small = [value[drawn].requires_grad_() for value in arguments]
    row = torch.zeros(len(means2d[0]), dtype=torch.long).index_copy_(
        0, drawn, torch.arange(len(drawn))
    )
    with torch.enable_grad():
        sums = _composite(*small, row[pairs[0]], pairs[1], width, height)
        gradients = torch.autograd.grad(sums, small, torch.cat([v_colors, v_alphas], -1)[0])
    full = [torch.zeros_like(value) for value in arguments]
    for whole, part in zip(full, gradients, strict=True):
        whole[drawn] = part
    return None, *(value[None] for value in full)


def _pairs(means2d, conics, _colors, opacities, width, height, tile_size, offsets, ids):
    """Return Gaussian and pixel of what is composited, by pixel, front to back."""
    offsets, tiles_across = offsets[0], offsets.shape[-1]
    ends = torch.cat([offsets.flatten()[1:], torch.tensor([len(ids)])]).view(offsets.shape)
    gaussians, pixels = [], []
    for row in range(height):
        for column in range(width):
            tile = row // tile_size, column // tile_size
            assert tile[1] < tiles_across
            here = ids[int(offsets[tile]) : int(ends[tile])].long()
            alpha = _alphas(means2d[here], conics[here], opacities[here], column + 0.5, row + 0.5)
            here, alpha = here[alpha >= ALPHA_THRESHOLD], alpha[alpha >= ALPHA_THRESHOLD]
            kept = (1 - alpha).cumprod(0) > 1e-4
            gaussians.append(here[kept])
            pixels.append(torch.full_like(here[kept], row * width + column))
    return torch.cat(gaussians), torch.cat(pixels)


def _alphas(means2d, conics, opacities, x, y):
    across, down = x - means2d[:, 0], y - means2d[:, 1]
    sigma = 0.5 * (conics[:, 0] * across**2 + conics[:, 2] * down**2) + conics[:, 1] * across * down
    return (opacities * torch.exp(-sigma)).clamp(max=0.999)


def _composite(means2d, conics, colors, opacities, gaussians, pixels, width, height):
    """Return colours and alpha (H, W, D + 1), by gsplat's reference `accumulate`'s formulas."""
    x, y = pixels % width + 0.5, pixels // width + 0.5
    alphas = _alphas(means2d[gaussians], conics[gaussians], opacities[gaussians], x, y)
    counts = torch.bincount(pixels, minlength=width * height)
    light = [(1 - part).cumprod(0).roll(1, 0) for part in alphas.split(counts.tolist())]
    for part in light:
        part[:1] = 1
    weights = (torch.cat(light) * alphas)[:, None]
    values = torch.cat([colors[gaussians], torch.ones_like(weights)], -1) * weights
    sums = torch.zeros(width * height, values.shape[1]).index_add(0, pixels, values)
    return sums.view(height, width, -1)
