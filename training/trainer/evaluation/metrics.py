"""Measures of images, masks and poses, as the literature defines them; see docs/trainer.md."""

from __future__ import annotations

from typing import cast

import roma
import torch
from torch import Tensor
from torch.nn import functional

from training.trainer.evaluation.torchmetrics_adapter import image_functions

MILLIMETRES = 1000.0
PELVIS = 0
SSIM_SIGMA = 1.5  # pixels; the window has 11
SSIM_RADIUS = 5
BOX_MARGIN = 24  # pixels
ALIGNMENT = {
    "mpjpe_mm": "none: world coordinates",
    "rr_mpjpe_mm": "translation: pelvis onto pelvis, each person and frame",
    "pa_mpjpe_mm": "similarity transform (Procrustes): each person and frame",
    "mve_mm": "none: world coordinates",
}
"""How poses are aligned with the truth before they are compared, by key of metrics.json."""


def scaled_down(image: Tensor, factor: int) -> Tensor:
    """Return an image (H, W, C) smaller by a whole factor: the means of squares of its pixels.

    Rows and columns beyond the last whole square are left out.
    """
    if factor == 1:
        return image
    return functional.avg_pool2d(image.movedim(-1, 0), factor).movedim(0, -1)


def psnr(rendered: Tensor, target: Tensor, inside: Tensor | None = None) -> float:
    """Return the peak signal-to-noise ratio of images (H, W, 3) in [0, 1], dB.

    The squared error is averaged over pixels and channels. Only pixels `inside` (H, W) count, where
    given; nan when there are none.
    """
    if inside is not None:
        rendered, target = rendered[inside], target[inside]
    if not target.numel():
        return float("nan")
    return float(image_functions().peak_signal_noise_ratio(rendered, target, data_range=1.0))


def similarity_map(rendered: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity (H, W) around each pixel of images (H, W, 3) in [0, 1].

    Mean over the channels; nan where the window of 11 pixels would reach over the border. Source:
    Wang et al. 2004; as skimage's structural_similarity with its `gaussian_weights` settings.
    """
    measure = image_functions().structural_similarity_index_measure
    result = torch.ones_like(target[..., 0])
    if box := differing_box(rendered, target):
        first, second = (image[box].permute(2, 0, 1)[None] for image in (rendered, target))
        found = measure(first, second, sigma=SSIM_SIGMA, data_range=1.0, return_full_image=True)
        result[box] = cast("tuple[Tensor, Tensor]", found)[1][0].mean(0)
    inner = (slice(SSIM_RADIUS, -SSIM_RADIUS),) * 2
    whole = torch.full_like(result, torch.nan)
    whole[inner] = result[inner]
    return whole


def differing_box(rendered: Tensor, target: Tensor) -> tuple[slice, slice] | None:
    """Return the rows and columns around all pixels that differ, None where none does.

    Its margin is wider than the windows that SSIM and FLIP look through. Outside it they find no
    difference, so there is nothing to compute: people seldom fill an image.
    """
    differs = (rendered != target).any(-1)
    if not differs.any():
        return None
    rows, columns = (differs.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return _with_margin(rows), _with_margin(columns)


def _with_margin(places: list[int]) -> slice:
    return slice(max(0, places[0] - BOX_MARGIN), places[-1] + BOX_MARGIN + 1)


def mean_of_map(values: Tensor, inside: Tensor | None = None) -> float:
    """Return the mean of a map (H, W) over the pixels `inside`, without nan; nan for none."""
    chosen = values if inside is None else values[inside]
    return float(chosen.nanmean())


def mask_iou(predicted: Tensor, true: Tensor) -> float:
    """Return the intersection over union of two masks (H, W) of bool; nan when both are empty."""
    union = (predicted | true).sum()
    return float((predicted & true).sum() / union) if union else float("nan")


def mpjpe(points: Tensor, truth: Tensor) -> Tensor:
    """Return the mean distance of joints (..., J, 3) from the truth for each body (...), mm.

    Of vertices it is the mean vertex error.
    """
    distances: Tensor = (points - truth).norm(dim=-1)
    return distances.mean(-1) * MILLIMETRES


def rr_mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Return `mpjpe` after each body's pelvis was moved onto the true one (root-relative), mm."""
    return mpjpe(joints - joints[..., [PELVIS], :], truth - truth[..., [PELVIS], :])


def pa_mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Return `mpjpe` after the best similarity transform of each body (Procrustes), mm."""
    rotation, translation, scale = roma.rigid_points_registration(
        joints, truth, compute_scaling=True
    )
    aligned = scale[..., None, None] * joints @ rotation.mT + translation[..., None, :]
    return mpjpe(aligned, truth)
