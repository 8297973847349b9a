"""The compiled rasterizer gives what the PyTorch one gives, whatever it is given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.rasterizer import cpu_rasterizer

ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-6}


@dataclass(frozen=True)
class Scene:
    """Gaussians and a camera, from a seed."""

    count: int = 200
    width: int = 70
    height: int = 70  # three bands of rows, the last one not whole
    features: int = 4
    center: tuple[float, float, float] = (0.0, 0.0, 3.0)
    spread: float = 0.5
    size: float = 0.08
    opacity: tuple[float, float] = (0.0, 1.0)
    angle: float = 0.3

    def parts(self, dtype: torch.dtype) -> list[Tensor]:
        random = torch.Generator().manual_seed(self.count)
        means = torch.randn(self.count, 3, generator=random) * self.spread
        shape = torch.randn(self.count, 3, 3, generator=random) * self.size
        low, high = self.opacity
        parts = [
            means + torch.tensor(self.center),
            shape @ shape.mT + 1e-5 * torch.eye(3),
            low + (high - low) * torch.rand(self.count, generator=random),
            torch.rand(self.count, self.features, generator=random),
        ]
        return [part.to(dtype).requires_grad_() for part in parts]

    def camera(self, dtype: torch.dtype) -> Camera:
        viewmat, intrinsics = torch.eye(4), torch.eye(3)
        viewmat[0, 0] = viewmat[2, 2] = math.cos(self.angle)
        viewmat[0, 2], viewmat[2, 0] = math.sin(self.angle), -math.sin(self.angle)
        intrinsics[0, 0], intrinsics[1, 1] = 1.1 * self.width, 0.9 * self.height
        intrinsics[0, 2], intrinsics[1, 2] = 0.45 * self.width, 0.55 * self.height
        return Camera(viewmat.to(dtype), intrinsics.to(dtype), self.width, self.height)


def drawn(which: str, parts: list[Tensor], camera: Camera) -> list[Tensor]:
    """Image, depth and alpha, then the gradients of a sum with weights of all of it."""
    image = cpu_rasterizer(which)(*parts, camera)  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(1)
    weights = [torch.randn(each.shape, generator=random, dtype=torch.float64) for each in image]
    total = sum((each * weight).sum() for each, weight in zip(image, weights, strict=True))
    return [*(each.detach() for each in image), *torch.autograd.grad(total, parts)]


SCENES = {
    "ordinary": Scene(),
    "none": Scene(count=0),
    "one pixel": Scene(width=1, height=1),
    "one row": Scene(height=1),
    "one Gaussian": Scene(count=1),
    "one feature": Scene(features=1),
    "no feature": Scene(features=0),
    "many features": Scene(features=19),
    "behind and in front of the camera": Scene(center=(0.0, 0.0, 0.0), spread=2.0),
    "all behind": Scene(center=(0.0, 0.0, -5.0)),
    "around the near plane": Scene(center=(0.0, 0.0, 0.01), spread=0.01, size=0.002),
    "outside of the image": Scene(center=(9.0, -9.0, 3.0)),
    "at the image's edge": Scene(center=(1.5, 1.5, 3.0), spread=0.8),
    "far larger than the image": Scene(count=30, size=3.0),
    "far smaller than a pixel": Scene(size=1e-5),
    "opaque": Scene(opacity=(0.999, 1.0)),
    "all but invisible": Scene(opacity=(0.0, 2 / 255)),
    "invisible": Scene(opacity=(0.0, 0.0)),
    "many": Scene(count=3000, width=96, height=96),
}


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", SCENES)
def test_is_the_pytorch_one_in_float64_rounded(name: str, dtype: torch.dtype) -> None:
    """Image, depth, alpha and the gradients of all four inputs, relative to their size."""
    parts, camera = SCENES[name].parts(dtype), SCENES[name].camera(dtype)
    exact = [part.detach().double().requires_grad_() for part in parts]
    exact_camera = Camera(
        camera.viewmat.double(), camera.intrinsics.double(), camera.width, camera.height
    )
    expected = drawn("pytorch", exact, exact_camera)
    for ours, other in zip(drawn("compiled", parts, camera), expected, strict=True):
        assert ours.dtype == dtype
        size = max(1.0, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(ours.double(), other, atol=ROUNDING[dtype] * size, rtol=0)


def test_scenes_show_something() -> None:
    """Else the comparison above would compare nothing with nothing."""
    empty = {"none", "all behind", "outside of the image", "invisible"}
    for name, scene in SCENES.items():
        _, _, alpha, *_ = drawn("pytorch", scene.parts(torch.float64), scene.camera(torch.float64))
        assert (alpha.max() > 0) == (name not in empty), name


def test_in_float32_it_is_as_near_to_pytorch_as_that_is_to_the_truth() -> None:
    scene = SCENES["many"]
    parts, camera = scene.parts(torch.float32), scene.camera(torch.float32)
    for ours, other in zip(
        drawn("compiled", parts, camera), drawn("pytorch", parts, camera), strict=True
    ):
        torch.testing.assert_close(ours, other, atol=1e-5 * float(other.abs().max()), rtol=0)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(
            drawn(
                "compiled",
                SCENES["many"].parts(torch.float32),
                SCENES["many"].camera(torch.float32),
            )
        )
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_gaussian_that_is_not_finite_is_not_drawn(number: float, which: int) -> None:
    """Instead of memory outside of the image being written to."""
    scene = Scene(count=50)
    parts = [part.detach() for part in scene.parts(torch.float64)]
    others = [part[:-1].clone().requires_grad_() for part in parts]
    if which == 2 and number > 1:  # an opacity beyond 1 is drawn as 1 is, over a larger area
        number = math.nan
    parts[which][-1] = number
    with_it = drawn(
        "compiled", [part.requires_grad_() for part in parts], scene.camera(torch.float64)
    )
    without = drawn("compiled", others, scene.camera(torch.float64))
    for ours, other in zip(with_it[:3], without[:3], strict=True):
        assert torch.equal(ours, other)
    for ours, other in zip(with_it[3:], without[3:], strict=True):
        assert torch.equal(ours[:-1], other)
        assert not ours[-1].any()


def test_a_second_backward_gives_the_same() -> None:
    parts = SCENES["ordinary"].parts(torch.float32)
    image, _, _ = cpu_rasterizer("compiled")(*parts, SCENES["ordinary"].camera(torch.float32))
    first = torch.autograd.grad(image.sum(), parts, retain_graph=True)
    again = torch.autograd.grad(image.sum(), parts)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
