"""What a refiner is, and how one is loaded from what `difix.model_id` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from training.trainer.refiner.weights import kind_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Refiner(Protocol):
    """A network that repairs a render with the help of a true image of the same people."""

    def refine(self, render: Tensor, reference: Tensor) -> Tensor:
        """Return the repaired image (H, W, 3) in [0, 1]; `reference` is a source view's image."""


def load_refiner(model_id: str, device: torch.device) -> Refiner:
    """Load the weights that `model_id` names; raises TrainingError when they are unusable."""
    kind = kind_of(model_id)
    if kind == "small":
        from training.trainer.refiner.network import load_small_refiner

        return load_small_refiner(model_id, device)
    if kind == "checkpoint":
        from training.trainer.refiner.difix_checkpoint import TunedDifixRefiner

        return TunedDifixRefiner(model_id, device)
    from training.trainer.refiner.difix import DifixRefiner

    return DifixRefiner(model_id, device)
