"""From posed Gaussians to what a camera sees, with the background behind the people."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.model import PosedGaussians
from training.trainer.gaussians.rasterizer import rasterize


@dataclass(frozen=True)
class Rendered:
    """image (H, W, 3), each person's share of each pixel (H, W, P), depth sum and alpha (H, W)."""

    image: Tensor
    shares: Tensor
    depth: Tensor
    alpha: Tensor


def render(gaussians: PosedGaussians, camera: Camera, background: float) -> Rendered:
    """Draw everyone together, so that people hide each other."""
    drawn = rasterize(
        gaussians.means, gaussians.covars, gaussians.opacities, gaussians.features, camera
    )
    image = drawn.features[..., :3] + (1 - drawn.alpha[..., None]) * background
    return Rendered(image, drawn.features[..., 3:], drawn.depth, drawn.alpha)
