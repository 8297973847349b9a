"""Losses and metrics against libraries and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import roma
import torch

from training.trainer import losses
from training.trainer.cameras.view import View
from training.trainer.config.schema import LossWeights
from training.trainer.evaluation import metrics
from training.trainer.gaussians.render import Rendered


def pictures(seed=0, size=(40, 50)):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(*size, 3, generator=generator)
    noise = 0.2 * torch.randn(*size, 3, generator=generator)
    return (target + noise).clamp(0, 1), target


def test_ssim_loss_is_torchmetrics_ssim_with_a_uniform_window():
    """Except at the border, where ours takes whole windows only."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    drawn, target = pictures()
    planes = [image.permute(2, 0, 1)[None].double() for image in (drawn, target)]
    theirs = structural_similarity_index_measure(
        *planes, gaussian_kernel=False, kernel_size=losses.SSIM_WINDOW, data_range=1.0
    )
    ours = 1 - losses.ssim_loss(drawn, target)
    assert float(ours) == pytest.approx(float(theirs), abs=5e-3)  # theirs also pads the border


def test_ssim_loss_is_zero_for_equal_images_and_falls_towards_them():
    """Its gradient points the right way, on a large bright image too."""
    drawn, target = pictures(size=(300, 300))
    assert float(losses.ssim_loss(target, target)) == pytest.approx(0, abs=1e-6)
    drawn.requires_grad_()
    loss = losses.ssim_loss(drawn, target)
    (gradient,) = torch.autograd.grad(loss, drawn)
    assert losses.ssim_loss(drawn - 50 * gradient, target) < loss


def test_depth_counts_only_where_it_is_known_and_the_model_is():
    """By hand: one pixel of four, 0.5 m off."""
    target = torch.tensor([[2.0, 0.0], [2.0, 3.0]])
    alpha = torch.tensor([[0.8, 0.9], [0.2, 0.3]])
    depth = torch.tensor([[2.5 * 0.8, 9.0], [9.0, 9.0]])
    assert float(losses.depth_loss(depth, alpha, target)) == pytest.approx(0.5)
    nothing = losses.depth_loss(depth, alpha, torch.zeros(2, 2))
    assert float(nothing) == 0


def test_colours_of_edges_count_only_where_asked():
    """A wrong colour at the edge of a mask costs nothing, or what it costs inside."""
    target, masks = torch.ones(16, 16, 3), torch.zeros(16, 16, 1)
    masks[4:12, 4:12] = 1
    drawn = target.clone()
    drawn[4, 4:12] = 0
    view = View(1, 1, 0, None, target, masks, None)
    seen = Rendered(drawn, masks, masks[..., 0], masks[..., 0], masks[..., 0])
    weights = LossWeights.model_construct(rgb=1.0, ssim=0.0)
    assert float(losses.color_loss(seen, view, weights)["rgb"]) == 0
    counted = losses.color_loss(seen, view, weights, edges=True)
    assert float(losses.total(counted)) == pytest.approx(8 / 256)


def test_even_motion_costs_nothing():
    """A constant change from frame to frame has no acceleration; a jump has."""
    steady = torch.arange(3.0)[:, None] * torch.ones(3, 4)
    assert float(losses.acceleration(steady)) == 0
    assert float(losses.acceleration(torch.tensor([[0.0], [1.0], [0.0]]))) == 4


def test_an_even_turn_costs_nothing_in_any_world():
    """A change of speed costs its square, near half a turn too, where axis-angle vectors flip."""

    def turned(*angles, world):
        about_z = torch.tensor([0.0, 0.0, 1.0])
        return world @ torch.stack([roma.rotvec_to_rotmat(angle * about_z) for angle in angles])

    for world in (torch.eye(3), roma.rotvec_to_rotmat(torch.tensor([3.1, 0.0, 0.0]))):
        even, uneven = turned(3.0, 3.1, 3.2, world=world), turned(3.0, 3.1, 3.25, world=world)
        assert float(losses.angular_acceleration(even)) == pytest.approx(0, abs=1e-9)
        assert float(losses.angular_acceleration(uneven)) == pytest.approx(0.05**2 / 3, rel=1e-2)


def test_poses_are_smooth_with_successive_frames_only():
    """Frames beside a skipped one and at the ends have none; steps may be longer than 1."""
    assert losses.has_neighbours([1, 2, 3, 5, 6, 7]) == [False, True, False, False, True, False]
    assert losses.has_neighbours([10, 20, 30]) == [False, True, False]
    assert losses.has_neighbours([1, 2, 4, 6]) == [False] * 4
    assert losses.has_neighbours([3]) == [False]


def test_psnr_by_hand():
    """Everywhere 0.1 off is 20 dB; the foreground alone can be worse."""
    target = torch.zeros(8, 8, 3)
    drawn = target.clone()
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:4] = True
    drawn[inside] = 0.1
    assert metrics.psnr(drawn, target, inside) == pytest.approx(20)
    assert metrics.psnr(drawn, target) == pytest.approx(20 + 10 * math.log10(2), abs=1e-4)
    assert math.isnan(metrics.psnr(drawn, target, inside & ~inside))


def test_pose_errors_by_hand():
    """Shifted by 30 mm: 30 mm off, and 0 after alignment, which also forgives turn and size."""
    joints = torch.randn(2, 3, 22, 3, generator=torch.Generator().manual_seed(1))
    shifted = joints + torch.tensor([0.03, 0.0, 0.0])
    torch.testing.assert_close(metrics.mpjpe(shifted, joints), torch.full((2, 3), 30.0))
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.2, 0.9]))
    similar = 1.2 * joints @ turn.T + 0.5
    assert metrics.pa_mpjpe(similar, joints).max() < 0.01
    bent = similar.clone()
    bent[..., 3, :] += 0.5
    assert metrics.pa_mpjpe(bent, joints).min() > 5
