"""What a refiner is, and how one is loaded from what `difix.model_id` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from training.trainer.refiner.weights import PROMPT, TIMESTEP, kind_of
from training.trainer.termination import TrainingError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Refiner(Protocol):
    """A network that repairs a render with the help of a true image of the same people."""

    def refine(self, render: Tensor, reference: Tensor) -> Tensor:
        """Return the repaired image (H, W, 3) in [0, 1]; `reference` is a source view's image."""


def load_refiner(
    model_id: str,
    device: torch.device,
    *,
    prompt: str = PROMPT,
    timesteps: Sequence[int] = (TIMESTEP,),
) -> Refiner:
    """Load the weights that `model_id` names; raises TrainingError when they are unusable.

    `prompt` and `timesteps`, a step of diffusion each, are for DiFix models.
    """
    kind = kind_of(model_id)
    if kind == "small":
        from training.trainer.refiner.network import load_small_refiner

        return load_small_refiner(model_id, device)
    if kind == "checkpoint":
        from training.trainer.refiner.difix_checkpoint import TunedDifixRefiner

        if len(timesteps) > 1:
            what = f"{model_id} is tuned for one step, not for difix.timesteps={list(timesteps)}"
            raise TrainingError(f"{what}: name one, e.g. [{TIMESTEP}]")
        return TunedDifixRefiner(model_id, device, prompt=prompt, timestep=timesteps[0])
    from training.trainer.refiner.difix import DifixRefiner

    return DifixRefiner(model_id, device, prompt, timesteps)
