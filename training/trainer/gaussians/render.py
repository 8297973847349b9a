"""From posed Gaussians to the image that a camera sees, with the background behind the people."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.model import PosedGaussians
from training.trainer.gaussians.rasterizer import rasterize


@dataclass(frozen=True)
class Rendered:
    """What a camera sees of P people.

    `image` (H, W, 3); `person_alpha` (H, W, P), how much of each pixel shows each person; `depth`
    (H, W), weighted by alpha, metres; `alpha` (H, W).
    """

    image: Tensor
    person_alpha: Tensor
    depth: Tensor
    alpha: Tensor


def render(gaussians: PosedGaussians, camera: Camera, background: float) -> Rendered:
    """Render everyone together, so that people occlude each other, onto a grey level 0 to 1."""
    raster = rasterize(
        gaussians.means, gaussians.covars, gaussians.opacities, gaussians.features, camera
    )
    image = raster.features[..., :3] + (1 - raster.alpha[..., None]) * background
    return Rendered(image, raster.features[..., 3:], raster.depth, raster.alpha)
