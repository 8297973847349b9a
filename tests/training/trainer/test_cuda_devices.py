"""A training step makes all its tensors where the model is, so that on a GPU no two places meet.

PyTorch's device `meta`, whose tensors have shapes and no values, stands for the GPU; every single
operation is looked at, those of the backward pass too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from two_people import camera, make_scene

from training.trainer.cameras.camera import Camera
from training.trainer.cameras.views import View
from training.trainer.config.schema import LossWeights
from training.trainer.evaluation.metrics import mpjpe, pa_mpjpe, rr_mpjpe
from training.trainer.gaussians import render as render_module
from training.trainer.gaussians.densification import Seen, _info
from training.trainer.gaussians.rasterizer import RasterOutput
from training.trainer.gaussians.render import render
from training.trainer.losses import color_loss, gaussian_prior, pose_prior, shape_loss, total
from training.trainer.refiner.network import RefinerNetwork, SmallRefiner

GPU = torch.device("meta")
SIZE = 64
WEIGHTS = dict.fromkeys(LossWeights.model_fields, 1.0)


class OnePlace(TorchDispatchMode):
    """Inside it, no operation takes tensors of two devices that a GPU would not take.

    Allowed are copies from one to the other, single numbers, and indices in square brackets.
    """

    ALLOWED = ("aten::_to_copy", "aten::copy_", "aten::index", "aten::index_put")

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
        devices = {each.device for each in tensors}
        name = function.name().partition(".")[0]
        assert len(devices) < 2 or name in self.ALLOWED, f"{name} takes {devices}"
        return function(*args, **(kwargs or {}))


def rasterize(
    means: Tensor, covars: Tensor, opacities: Tensor, features: Tensor, seen_by: Camera, **_: object
) -> RasterOutput:
    """Depend on everything, and render nothing."""
    camera_sum = seen_by.viewmat.sum() + seen_by.intrinsics.sum()
    one = means.sum() + covars.sum() + opacities.sum() + camera_sum
    image = one.expand(seen_by.height, seen_by.width)
    return RasterOutput(image[..., None] + features.sum(0), image, image)


@pytest.mark.parametrize("sh_degree", [0, 2])
def test_a_training_step_stays_on_its_device(monkeypatch: pytest.MonkeyPatch, sh_degree: int):
    """Posing, colours, losses and priors with their gradients; and what densification looks at."""
    monkeypatch.setattr(render_module, "rasterize", rasterize)
    model = make_scene(sh_degree)
    model.body = model.body.to(GPU)
    model = model.to(GPU)
    image = torch.zeros(SIZE, SIZE, 3, device=GPU)
    seen_by = camera().to(GPU)
    view = View(28, 0, 0, seen_by, image, image[..., :2], image[..., 0])
    weights = LossWeights.model_validate(WEIGHTS)
    with OnePlace():
        posed = model.gaussians_at(0)
        rendered = render(posed, seen_by, 1.0)
        terms = color_loss(rendered, view, weights) | shape_loss(rendered, view, weights)
        terms |= pose_prior(model, 0, weights, smooth=False) | gaussian_prior(model, weights)
        torch.autograd.backward(total(terms))
    for name, parameter in model.gaussians.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.device == GPU, name
    shifts = torch.zeros(len(posed.means), 2, device=GPU)
    with OnePlace():
        assert _info(posed, [Seen(seen_by, seen_by, shifts)])["radii"].device == GPU


def test_metrics_stay_on_their_device():
    """Evaluations are made where the model is."""
    joints = torch.zeros(2, 2, 22, 3, device=GPU)
    with OnePlace():
        errors = [measure(joints, joints) for measure in (mpjpe, rr_mpjpe, pa_mpjpe)]
    assert {each.device for each in errors} == {GPU}


def test_a_refiner_works_on_its_device_whatever_images_it_is_given():
    """Samples that it is measured on are read on the CPU; the result goes back there, at the end.

    Here that last copy can't be made: `meta` has no values.
    """
    refiner, image = SmallRefiner(RefinerNetwork(8), GPU), torch.zeros(40, 52, 3)
    with OnePlace(), pytest.raises(NotImplementedError, match="copy out of meta"):
        refiner.refine(image, image)
    with OnePlace():
        assert refiner.refine(image.to(GPU), image.to(GPU)).shape == image.shape


@pytest.mark.parametrize("operation", [torch.add, torch.matmul, torch.dot])
def test_mixed_devices_are_noticed(operation: Callable[..., Tensor]) -> None:
    """So the tests above can fail."""
    with OnePlace(), pytest.raises((AssertionError, RuntimeError)):
        operation(torch.zeros(2, device=GPU), torch.zeros(2))
