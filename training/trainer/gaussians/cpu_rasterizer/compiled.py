"""Rasterize by compiled loops: splat Gaussians front to back, without a list of their pixels.

The result is that of `pytorch.py` in float64, rounded to the type of the tensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.cpu_rasterizer.compiled_code import Kernels
from training.trainer.gaussians.cpu_rasterizer.constants import MIN_ALPHA
from training.trainer.gaussians.cpu_rasterizer.kernels import BAND_ROWS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def rasterize_compiled(
    means: Tensor,
    covars: Tensor,
    opacities: Tensor,
    features: Tensor,
    camera: Camera,
    *,
    kernels: Kernels,
    shifts: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (H, W, D), depth (H, W) and alpha (H, W) as `rasterizer.rasterize` does."""
    outputs: tuple[Tensor, Tensor, Tensor] = _Rasterize.apply(  # type: ignore[no-untyped-call]
        kernels, camera, shifts, means, covars, opacities, features
    )
    return outputs


class _Rasterize(Function):
    """Forward and backward of `rasterize_compiled`; shifts are zeros, and have a gradient only."""

    @staticmethod
    def forward(
        ctx: Any, kernels: Kernels, camera: Camera, _shifts: Tensor | None, *inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kernels, ctx.dtypes = kernels, [each.dtype for each in inputs]
        ctx.splats = _splats(kernels, _View.of(camera), [_to_numpy(each) for each in inputs])
        ctx.image = _composite(kernels, ctx.splats)
        sums, light = ctx.image.sums, ctx.image.light
        parts = (sums[..., :-1], sums[..., -1], 1 - light)
        features, depth, alpha = (
            torch.from_numpy(np.ascontiguousarray(part)).to(inputs[0].dtype) for part in parts
        )
        return features, depth, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Any, ...]:
        features, depth, alpha = map(_to_numpy, outputs)
        grad_sums = np.concatenate([features, depth[..., None]], axis=-1)
        centers, *grads = _gradients(ctx.kernels, ctx.splats, ctx.image, grad_sums, alpha)
        shifts = torch.from_numpy(centers).to(ctx.dtypes[0]) if ctx.needs_input_grad[2] else None
        tensors = zip(grads, ctx.dtypes, strict=True)
        return None, None, shifts, *(torch.from_numpy(grad).to(dtype) for grad, dtype in tensors)


@dataclass(frozen=True)
class _View:
    """A camera as the kernels take it."""

    viewmat: Floats
    lens: Floats
    width: int
    height: int

    @staticmethod
    def of(camera: Camera) -> _View:
        matrix, size = _to_numpy(camera.intrinsics), (camera.width, camera.height)
        lens = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *size])
        return _View(_to_numpy(camera.viewmat[:3]), lens, *size)


@dataclass(frozen=True)
class _Splats:
    """Projected Gaussians, by band; `values` (N, D + 1) are their features and depths."""

    view: _View
    means: Floats
    covars: Floats
    flat: Floats
    boxes: Ints
    values: Floats
    starts: Ints
    members: Ints

    @property
    def of_bands(self) -> tuple[Ints, Ints, Floats, Ints, Floats, float]:
        """What the kernels that go through bands take first."""
        return self.starts, self.members, self.flat, self.boxes, self.values, MIN_ALPHA

    @property
    def threads(self) -> int:
        """How many threads share the bands out."""
        return max(1, min(torch.get_num_threads(), len(self.starts) - 1))


@dataclass(frozen=True)
class _Image:
    """`sums` (H, W, D + 1) of weighted values, and what the backward pass needs of each pixel."""

    sums: Floats
    light: Floats
    last: Ints


def _splats(kernels: Kernels, view: _View, inputs: Sequence[Floats]) -> _Splats:
    """Project means, covars, opacities; sort them and list what each band of rows shows."""
    means, covars, opacities, features = inputs
    count = len(means)
    flat, depths, boxes = np.empty((count, 6)), np.empty(count), np.empty((count, 4), np.int64)
    seen_by = (view.viewmat, view.lens, MIN_ALPHA)
    kernels.project(means, covars, opacities, *seen_by, flat, depths, boxes)
    bands = -(-view.height // BAND_ROWS)
    starts, members = kernels.list_bands(np.argsort(depths, kind="stable"), boxes, bands)
    values = np.concatenate([features, depths[:, None]], axis=1)
    return _Splats(view, means, covars, flat, boxes, values, starts, members)


def _composite(kernels: Kernels, splats: _Splats) -> _Image:
    size = (splats.view.height, splats.view.width)
    image = _Image(
        np.zeros((*size, splats.values.shape[1])), np.ones(size), np.full(size, -1, np.int64)
    )
    _share_out(
        kernels.composite,
        splats.threads,
        (*splats.of_bands, image.sums, image.light, image.last),
    )
    return image


def _gradients(
    kernels: Kernels, splats: _Splats, image: _Image, grad_sums: Floats, grad_alpha: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return the gradients of centers in the image, means, covars, opacities and features."""
    count, columns = len(splats.flat), 6 + splats.values.shape[1]
    parts = np.zeros((len(splats.members), columns))
    light = image.light.copy()
    of_image = (grad_sums, grad_alpha, light, image.last)
    _share_out(kernels.composite_backward, splats.threads, (*splats.of_bands, *of_image, parts))
    sums = np.zeros((count, columns))
    kernels.sum_over_bands(splats.members, parts, sums)
    means, covars = np.zeros((count, 3)), np.zeros((count, 3, 3))
    view = splats.view
    kernels.project_backward(
        splats.means,
        splats.covars,
        view.viewmat,
        view.lens,
        splats.boxes,
        sums,
        np.ascontiguousarray(sums[:, -1]),
        means,
        covars,
    )
    return sums[:, :2], means, covars, sums[:, 5], sums[:, 6:-1]


def _share_out(kernel: Callable[..., None], threads: int, arguments: tuple[Any, ...]) -> None:
    """Let each of several threads do every n-th band; the kernels hold no lock of Python's."""
    if threads == 1:
        kernel(0, 1, *arguments)
        return
    started = [
        _thread_pool(os.getpid(), threads).submit(kernel, first, threads, *arguments)
        for first in range(threads)
    ]
    for each in started:
        each.result()


@cache
def _thread_pool(process: int, threads: int) -> ThreadPoolExecutor:  # noqa: ARG001 - for the cache
    """Return the threads of this process: one that was forked off has to start its own."""
    return ThreadPoolExecutor(threads, "rasterize")


def _to_numpy(tensor: Tensor) -> Floats:
    numbers: Floats = tensor.detach().to(torch.float64).contiguous().numpy()
    return numbers
