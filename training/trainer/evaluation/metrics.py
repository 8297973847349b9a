"""Measures of images and poses, as the literature defines them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import cast

import roma
import torch
from torch import Tensor

MILLIMETRES = 1000.0
LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"


def psnr(rendered: Tensor, target: Tensor, inside: Tensor | None = None) -> float:
    """Return the peak signal-to-noise ratio of images (H, W, 3) in [0, 1], dB.

    Only pixels `inside` (H, W) count, where given; nan when there are none.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if inside is not None:
        rendered, target = rendered[inside], target[inside]
    if not target.numel():
        return float("nan")
    return float(peak_signal_noise_ratio(rendered, target, data_range=1.0))


def ssim(rendered: Tensor, target: Tensor) -> float:
    """Return the structural similarity of images (H, W, 3) in [0, 1] (Wang et al. 2004)."""
    from torchmetrics.functional.image import structural_similarity_index_measure as measure

    first, second = (image.permute(2, 0, 1)[None] for image in (rendered, target))
    # It returns more than the mean only where that is asked for.
    return float(cast("Tensor", measure(first, second, data_range=1.0)))


def load_lpips(device: torch.device) -> tuple[Callable[[Tensor, Tensor], float] | None, str]:
    """Return a function for the learned perceptual distance, or None and why it can't be measured.

    Source: Zhang et al. 2018, on AlexNet. Nothing is downloaded.
    """
    if importlib.util.find_spec("torchvision") is None:
        return None, "torchvision is not installed"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_WEIGHTS
    if not weights.is_file():
        return None, f"no weights at {weights} (a run never downloads)"
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).to(device)

    def measure(rendered: Tensor, target: Tensor) -> float:
        planes = [image.clamp(0, 1).permute(2, 0, 1)[None] for image in (rendered, target)]
        return float(network(*planes))

    return measure, ""


def mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Return the mean distance of joints (..., J, 3) from the truth for each body (...), mm."""
    distances: Tensor = (joints - truth).norm(dim=-1)
    return distances.mean(-1) * MILLIMETRES


def pa_mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Return `mpjpe` after the best similarity transform of each body (Procrustes), mm."""
    rotation, translation, scale = roma.rigid_points_registration(
        joints, truth, compute_scaling=True
    )
    aligned = scale[..., None, None] * joints @ rotation.mT + translation[..., None, :]
    return mpjpe(aligned, truth)
