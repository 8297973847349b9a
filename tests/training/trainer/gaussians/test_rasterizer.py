"""Both CPU rasterizers render what the 3DGS paper's formula says, and what gsplat renders."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from training.trainer.cameras.camera import Camera
from training.trainer.gaussians.cpu_rasterizer import compiled, pytorch
from training.trainer.gaussians.cpu_rasterizer.projection import project
from training.trainer.gaussians.rasterizer import RasterOutput, rasterize, use_cpu_rasterizer

FOCAL = 20.0
SIZE = 16


@pytest.fixture(autouse=True, params=["compiled", "pytorch"])
def chosen(request: pytest.FixtureRequest) -> Iterator[str]:
    use_cpu_rasterizer(request.param)
    yield request.param
    use_cpu_rasterizer("auto")


def camera(angle: float = 0.0, width: int = SIZE, height: int = SIZE) -> Camera:
    viewmat = torch.eye(4)
    if angle:
        viewmat[0, 0] = viewmat[2, 2] = math.cos(angle)
        viewmat[0, 2], viewmat[2, 0] = math.sin(angle), -math.sin(angle)
        viewmat[2, 3] = 0.5
    intrinsics = torch.tensor([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1.0]])
    return Camera(viewmat, intrinsics, width, height)


def cloud(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=generator) * 0.5 + torch.tensor([0.0, 0.0, 3.0])
    shape = torch.randn(count, 3, 3, generator=generator) * 0.08
    covars = shape @ shape.mT + 1e-4 * torch.eye(3)
    opacities = torch.rand(count, generator=generator)
    return means, covars, opacities, torch.rand(count, 4, generator=generator)


def slow(
    means: Tensor, covars: Tensor, opacities: Tensor, features: Tensor, seen_by: Camera
) -> RasterOutput:
    """Rasterize pixel by pixel, Gaussian by Gaussian, as gsplat's kernel is written."""
    flat = project(means, covars, seen_by)
    centers, conics, depths = flat.centers, flat.conics, flat.depths
    drawn = torch.zeros(SIZE, SIZE, features.shape[1] + 2)
    full = torch.cat([features, depths[:, None], torch.ones(len(means), 1)], dim=1)
    for row in range(SIZE):
        for column in range(SIZE):
            light = 1.0
            for i in torch.argsort(depths, stable=True).tolist():
                x, y = column + 0.5 - centers[i, 0], row + 0.5 - centers[i, 1]
                xx, xy, yy = conics[i]
                alpha = opacities[i] * torch.exp(-0.5 * (xx * x * x + yy * y * y) - xy * x * y)
                alpha = float(alpha.clamp(max=0.999))
                if depths[i] <= 0.01 or alpha < 1 / 255:
                    continue
                if light * (1 - alpha) <= 1e-4:
                    break
                drawn[row, column] += light * alpha * full[i]
                light *= 1 - alpha
    return RasterOutput(drawn[..., :-2], drawn[..., -2], drawn[..., -1])


@pytest.mark.parametrize("angle", [0.0, 0.4])
@pytest.mark.parametrize("opaque", [False, True])
def test_matches_the_formula_applied_pixel_by_pixel(angle: float, opaque: bool) -> None:
    """Alpha cap, cut-off, early stop and order included: half the clouds are nearly opaque."""
    means, covars, opacities, features = cloud(60)
    opacities = torch.ones_like(opacities) if opaque else opacities
    scene = (means, covars, opacities, features, camera(angle))
    drawn, expected = rasterize(*scene), slow(*scene)
    assert expected.alpha.max() > 0.9
    for name in ("features", "depth", "alpha"):
        torch.testing.assert_close(getattr(drawn, name), getattr(expected, name), atol=1e-5, rtol=0)


def test_projection_is_that_of_gsplat() -> None:
    """Also far outside the image, where the slope is limited."""
    from gsplat.cuda._torch_impl import _fully_fused_projection

    means, covars, _, _ = cloud(200)
    means = means * torch.tensor([4.0, 4.0, 1.0])
    seen_by = camera(0.3, 24, 10)
    _, centers, depths, conics, _ = _fully_fused_projection(
        means, covars, seen_by.viewmat[None], seen_by.intrinsics[None], 24, 10
    )
    ours = project(means, covars, seen_by)
    seen = depths[0] > 0.01
    torch.testing.assert_close(ours.centers[seen], centers[0][seen], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(ours.conics[seen], conics[0][seen], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ours.depths, depths[0])


def test_one_gaussian_in_the_middle_of_a_pixel_has_its_own_opacity_there() -> None:
    """By hand: 0.8 in the middle, and one pixel away 0.8·exp(-1 / (2·(s² + 0.3)))."""
    seen_by = camera()
    seen_by.intrinsics[:2, 2] = SIZE / 2 + 0.5
    spread = 0.1  # at 2 m and 20 px focal length: one pixel
    drawn = rasterize(
        torch.tensor([[0.0, 0.0, 2.0]]),
        spread**2 * torch.eye(3)[None],
        torch.tensor([0.8]),
        torch.tensor([[0.25]]),
        seen_by,
    )
    middle = SIZE // 2
    assert drawn.alpha[middle, middle].item() == pytest.approx(0.8, abs=1e-6)
    assert drawn.features[middle, middle].item() == pytest.approx(0.2, abs=1e-6)
    assert drawn.depth[middle, middle].item() == pytest.approx(1.6, abs=1e-6)
    beside = 0.8 * math.exp(-0.5 / 1.3)
    assert drawn.alpha[middle, middle + 1].item() == pytest.approx(beside, abs=1e-6)
    assert drawn.alpha[0, 0].item() == 0


def test_nothing_is_quite_opaque() -> None:
    """By hand: full opacity in the middle of a pixel covers 0.999 of it."""
    seen_by = camera()
    seen_by.intrinsics[:2, 2] = SIZE / 2 + 0.5
    drawn = rasterize(
        torch.tensor([[0.0, 0.0, 2.0]]),
        torch.eye(3)[None],
        torch.ones(1),
        torch.ones(1, 1),
        seen_by,
    )
    assert drawn.alpha.max().item() == pytest.approx(0.999, abs=1e-7)


def test_the_nearer_gaussian_hides_the_farther_whatever_their_order() -> None:
    """By hand: 0.6 in front of 0.5 leaves 0.4·0.5 for the one behind."""
    means = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]])
    covars = 4.0 * torch.eye(3).expand(2, 3, 3)
    drawn = rasterize(means, covars, torch.tensor([0.5, 0.6]), torch.eye(2), camera())
    near, far = drawn.features[SIZE // 2, SIZE // 2, 1], drawn.features[SIZE // 2, SIZE // 2, 0]
    assert near.item() == pytest.approx(0.6, abs=1e-3)
    assert far.item() == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("z", [-2.0, 0.005])
def test_a_gaussian_behind_the_near_plane_is_not_drawn_and_gives_no_bad_gradient(z: float) -> None:
    """A view without any Gaussian is empty, and training can continue."""
    means = torch.tensor([[0.0, 0.0, z]], requires_grad=True)
    drawn = rasterize(means, torch.eye(3)[None], torch.ones(1), torch.ones(1, 3), camera())
    drawn.features.sum().backward()
    assert drawn.alpha.sum() == 0
    assert means.grad is not None
    assert means.grad.isfinite().all()


def test_gradients_are_those_of_finite_differences() -> None:
    """Of every input, in float64."""
    parts = [part.double() for part in cloud(6, seed=3)]
    shape = torch.linalg.cholesky(parts[1])

    def drawn(means: Tensor, factor: Tensor, opacities: Tensor, features: Tensor) -> Tensor:
        small = camera(0.2, 8, 8)
        small = Camera(small.viewmat.double(), small.intrinsics.double(), 8, 8)
        seen = rasterize(means, factor @ factor.mT, opacities, features, small)
        return torch.cat([seen.features.flatten(), seen.depth.flatten(), seen.alpha.flatten()])

    inputs = (parts[0], shape, 0.2 + 0.5 * parts[2], parts[3])
    # Without the cut-off at 1/255 the image is smooth.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "MIN_ALPHA", 1e-9)
        patch.setattr(pytorch, "MIN_ALPHA", 1e-9)
        assert torch.autograd.gradcheck(drawn, [x.requires_grad_() for x in inputs], atol=1e-6)


def test_the_same_scene_gives_the_same_bits() -> None:
    """Image and gradients; a resumed run relies on it."""

    def once() -> tuple[Tensor, Tensor]:
        means, covars, opacities, features = cloud(80)
        means.requires_grad_()
        seen = rasterize(means, covars, opacities, features, camera(0.1))
        seen.features.square().sum().backward()
        assert means.grad is not None
        return seen.features.detach(), means.grad

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_draws_what_the_cpu_draws() -> None:
    """One signature, one image, one gradient, on both devices.

    A covariance's gradient is compared through a factor of it: gsplat reads the upper triangle
    only, and gives it the gradient of both.
    """
    images, gradients = [], []
    for device in ("cpu", "cuda"):
        means, covars, opacities, features = cloud(300)
        factors = torch.linalg.cholesky(covars)
        shifts = torch.zeros(300, 2)
        parts = [
            part.to(device).requires_grad_()
            for part in (means, factors, opacities, features, shifts)
        ]
        covars = parts[1] @ parts[1].mT
        seen_by = camera(0.2, 64, 48).to(device)
        seen = rasterize(parts[0], covars, *parts[2:4], seen_by, shifts=parts[4])
        (seen.features.sum() + seen.depth.sum() + seen.alpha.sum()).backward()
        images.append(torch.cat([seen.features, seen.depth[..., None], seen.alpha[..., None]], -1))
        gradients.append([part.grad.cpu() for part in parts if part.grad is not None])
    torch.testing.assert_close(images[0], images[1].cpu(), atol=1e-4, rtol=1e-4)
    for on_cpu, on_cuda in zip(*gradients, strict=True):
        torch.testing.assert_close(on_cpu, on_cuda, atol=1e-2, rtol=1e-2)
