"""SSIM, mask IoU, FLIP and LPIPS against other implementations and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.trainer.evaluation import metrics, perceptual

SKIMAGE_SSIM = 0.9478887499810537
"""By skimage 0.26: structural_similarity(a, b, gaussian_weights=True, sigma=1.5,
use_sample_covariance=False, data_range=1.0, channel_axis=-1) of `noisy_pair`."""


def noisy_pair():
    generator = np.random.default_rng(7)
    target = generator.random((24, 20, 3))
    drawn = np.clip(target + 0.1 * generator.standard_normal(target.shape), 0, 1)
    return torch.from_numpy(drawn), torch.from_numpy(target)


def person_on_white(dtype=torch.float32):
    """A noisy render of a picture that is white but for a part, as scenes are."""
    generator = torch.Generator().manual_seed(3)
    target = torch.ones(120, 140, 3, dtype=dtype)
    target[50:80, 60:75] = torch.rand(30, 15, 3, generator=generator, dtype=dtype)
    drawn = target.clone()
    drawn[48:70, 65:80] *= torch.rand(22, 15, 3, generator=generator, dtype=dtype)
    return drawn, target


def test_ssim_is_that_of_skimage():
    """The mean over windows that lie wholly inside: no reflected border counts."""
    drawn, target = noisy_pair()
    found = metrics.similarity_map(drawn, target)
    assert metrics.mean_of_map(found) == pytest.approx(SKIMAGE_SSIM, abs=1e-9)
    assert torch.isnan(found).sum() == 24 * 20 - 14 * 10


def test_ssim_of_one_window_by_its_formula():
    """An image of 11 pixels has one window: means, variances and covariance by hand."""
    drawn, target = (image[:11, :11, :1] for image in noisy_pair())
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(line, line) / line.sum() ** 2
    a, b = drawn[..., 0].numpy(), target[..., 0].numpy()
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * a * a).sum() - mean_a**2, (weights * b * b).sum() - mean_b**2
    cov = (weights * a * b).sum() - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    assert metrics.mean_of_map(metrics.similarity_map(drawn, target)) == pytest.approx(expected)


def test_only_what_differs_is_compared_and_nothing_changes_by_it():
    """SSIM and FLIP of the part around the difference are those of the whole images."""
    from flip_evaluator import evaluate
    from torchmetrics.functional.image import structural_similarity_index_measure as library

    drawn, target = person_on_white()
    rows, columns = metrics.differing_box(drawn, target)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (24, 94, 41, 104)
    planes = [image.permute(2, 0, 1)[None] for image in (drawn, target)]
    _, whole = library(*planes, sigma=1.5, data_range=1.0, return_full_image=True)
    found = metrics.similarity_map(drawn, target)[5:-5, 5:-5]
    assert (found - whole[0].mean(0)[5:-5, 5:-5]).abs().max() < 1e-5
    flip, _, _ = evaluate(target.numpy(), drawn.numpy(), "LDR", applyMagma=False)
    assert np.array_equal(perceptual.flip_map(drawn, target).numpy(), flip[..., 0])


def test_equal_images_do_not_differ():
    """SSIM 1, FLIP 0, and nothing to look at; an image smaller than a window has no SSIM."""
    _, target = person_on_white()
    assert metrics.differing_box(target, target) is None
    assert metrics.mean_of_map(metrics.similarity_map(target, target)) == 1
    assert float(perceptual.flip_map(target, target).max()) == 0
    small = target[:10]
    assert math.isnan(metrics.mean_of_map(metrics.similarity_map(small, small)))


def test_ssim_and_flip_of_people_are_worse_than_of_an_image_that_is_mostly_background():
    """The background is right in any render, and dilutes every mean over the image."""
    drawn, target = person_on_white()
    people = (target < 1).any(-1)
    similarity, flip = metrics.similarity_map(drawn, target), perceptual.flip_map(drawn, target)
    assert metrics.mean_of_map(similarity, people) < 0.8 < metrics.mean_of_map(similarity)
    assert metrics.mean_of_map(flip, people) > 5 * metrics.mean_of_map(flip)


def test_flip_grows_with_the_difference_and_is_the_same_in_both_directions():
    """White on black is nearly 1, the most there is (its authors' package: 0.967)."""
    _, target = person_on_white()
    black, white = torch.zeros(64, 64, 3), torch.ones(64, 64, 3)
    most = metrics.mean_of_map(perceptual.flip_map(black, white))
    assert most == pytest.approx(0.96735, abs=1e-4)
    assert metrics.mean_of_map(perceptual.flip_map(white, black)) == pytest.approx(most)
    means = [
        metrics.mean_of_map(perceptual.flip_map((target + shift).clamp(0, 1), target))
        for shift in (-0.05, -0.1, -0.2)
    ]
    assert means == sorted(means)


def test_mask_iou_by_hand():
    """Two of four pixels in common; nothing to find and nothing found counts as no number."""
    first = torch.tensor([[True, True, True, False]])
    second = torch.tensor([[False, True, True, True]])
    assert metrics.mask_iou(first, second) == 0.5
    assert metrics.mask_iou(first, first) == 1
    assert metrics.mask_iou(first, ~first & first) == 0
    assert math.isnan(metrics.mask_iou(~first & first, ~first & first))


def test_means_leave_out_what_has_no_number():
    """Borders are nan; no pixel at all gives nan."""
    values = torch.tensor([[1.0, torch.nan], [3.0, 5.0]])
    assert metrics.mean_of_map(values) == 3
    assert metrics.mean_of_map(values, torch.tensor([[True, True], [False, False]])) == 1
    assert math.isnan(metrics.mean_of_map(values, torch.zeros(2, 2, dtype=torch.bool)))


@pytest.mark.parametrize("network", ["vgg", "alex"])
def test_lpips_is_measured_or_its_absence_explained(network, monkeypatch, tmp_path):
    """Weights are never downloaded; the reason says where they go."""
    measure, reason = perceptual.load_lpips(network, torch.device("cpu"))
    assert (measure is None) == bool(reason)
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    measure, reason = perceptual.load_lpips(network, torch.device("cpu"))
    assert measure is None
    weights = tmp_path / "checkpoints" / perceptual.LPIPS_WEIGHTS[network]
    assert str(weights) in reason
    weights.parent.mkdir()
    weights.write_bytes(b"half a downl")
    measure, reason = perceptual.load_lpips(network, torch.device("cpu"))
    assert measure is None
    assert "can't be loaded" in reason
