"""Perceptual differences of images: FLIP, and LPIPS where its network's weights are there."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import cast

import numpy as np
import torch
from torch import Tensor

from training.trainer.config.schema import LpipsNetwork
from training.trainer.evaluation.metrics import differing_box

Lpips = Callable[[Tensor, Tensor], float]
LPIPS_WEIGHTS: dict[LpipsNetwork, str] = {
    "vgg": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
}
"""torchvision's files of the networks; torchmetrics has the few weights that LPIPS adds."""


def flip_map(rendered: Tensor, target: Tensor) -> Tensor:
    """Return how much two sRGB images (H, W, 3) in [0, 1] differ when flipped: (H, W) in [0, 1].

    Source: Andersson et al. 2020, by the authors' package, at its default of 67 pixels a degree.
    """
    # Its own OpenMP library reads this when it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    from flip_evaluator import evaluate

    result = torch.zeros_like(target[..., 0], device="cpu")
    if box := differing_box(rendered, target):
        true, ours = (np.ascontiguousarray(image[box].cpu()) for image in (target, rendered))
        found, _, _ = evaluate(true, ours, "LDR", applyMagma=False, computeMeanError=False)
        result[box] = torch.from_numpy(found[..., 0])
    return result


def load_lpips(network: LpipsNetwork, device: torch.device) -> tuple[Lpips | None, str]:
    """Return a function for the learned perceptual distance, or None and why it can't be measured.

    Source: Zhang et al. 2018. Nothing is downloaded.
    """
    if importlib.util.find_spec("torchvision") is None:
        return None, "torchvision is not installed"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_WEIGHTS[network]
    if not weights.is_file():
        return None, f"no weights at {weights} (a run never downloads)"
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        measure = LearnedPerceptualImagePatchSimilarity(net_type=network, normalize=True)
    except (ImportError, OSError, RuntimeError, EOFError, UnpicklingError) as error:
        return None, f"LPIPS can't be loaded: {type(error).__name__}: {error}"
    measure = measure.to(device)

    def lpips(rendered: Tensor, target: Tensor) -> float:
        planes = [image.clamp(0, 1).permute(2, 0, 1)[None] for image in (rendered, target)]
        return float(cast("Tensor", measure(*planes)))

    return lpips, ""
