"""Where a refined image shows people: a refiner repairs outlines too, not only colours."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from training.trainer.gaussians.render import COVERED

VISIBLE = 0.1  # by which a channel differs from the background at least where people are
OUTLINE = 0.4  # of the contrast beside it: a blurred outline makes nobody thicker
REACH_SHARE = 1 / 24  # of the longer side: how far a refiner may move an outline


def person_masks(image: Tensor, person_alpha: Tensor, background: float) -> Tensor:
    """Return each person's mask (H, W, P), 0 or 1, in a refined `image` (H, W, 3).

    `person_alpha` (H, W, P) is that of the render. Near its outlines, people are where the image
    differs from the background, and a pixel is of the person who covers most of it and its
    surroundings; further inside, the render is believed, whose people may wear the background's
    colour.
    """
    reach = max(2, round(max(image.shape[:2]) * REACH_SHARE))
    alpha = person_alpha.permute(2, 0, 1)[None]
    anyone = alpha.sum(1, keepdim=True).clamp(max=1)
    near = (_largest(anyone, reach) > COVERED)[0, 0]
    inside = (-_largest(-anyone, reach) > COVERED)[0, 0]
    contrast = (image - background).abs().amax(-1)[None, None]
    around_it = _largest(contrast, 1)
    differs = ((contrast > OUTLINE * around_it) & (around_it > VISIBLE))[0, 0]
    # The surroundings decide where nobody covers the pixel itself.
    around = functional.avg_pool2d(alpha, 2 * reach + 1, stride=1, padding=reach)
    whose = functional.one_hot((alpha + around)[0].argmax(0), person_alpha.shape[-1])
    return whose * (inside | (near & differs))[..., None].float()


def _largest(planes: Tensor, reach: int) -> Tensor:
    largest: Tensor = functional.max_pool2d(planes, 2 * reach + 1, stride=1, padding=reach)
    return largest
