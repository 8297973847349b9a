"""What an evaluation measures, on a model whose distance from the truth is known."""

from __future__ import annotations

from dataclasses import replace
from operator import mul
from statistics import fmean

import pytest
import torch

from preprocess.body.body_model import load_body
from training.trainer.config.compose import load_config
from training.trainer.evaluation.evaluate import IMAGE_NUMBERS, compare_view, evaluate
from training.trainer.evaluation.evaluated_views import EvaluatedViews
from training.trainer.gaussians.render import Rendered
from training.trainer.input_checks import check_inputs
from training.trainer.setup import make_model, open_readers, read_ground_truth

CAMERAS, INDICES, FRAMES = (16, 52), (0, 3), (1, 5)
SHIFT_MM = 40.0


@pytest.fixture
def truth(tiny_scene):
    """The tiny scene's: two cameras, two frames, of which the second is after a skipped one."""
    config = load_config(tiny_scene.arguments())
    inputs = check_inputs(config)
    _, reader = open_readers(config, inputs, 2, torch.device("cpu"))
    found = read_ground_truth(config, inputs, reader)
    return replace(found, evaluated=EvaluatedViews(CAMERAS, INDICES))


def model_in(parameters):
    return make_model(0, load_body(), parameters, [1500, 1500], torch.device("cpu"))


def shifted(parameters):
    return replace(parameters, trans=parameters.trans + torch.tensor([SHIFT_MM / 1000, 0.0, 0.0]))


def test_a_model_beside_the_truth_is_as_far_off_as_it_was_moved(truth):
    """World errors of joints and vertices are the shift; alignment takes it away."""
    found = evaluate(model_in(shifted(truth.own.parameters)), truth, 1.0)
    for key in ("mpjpe_mm", "mve_mm", "smpl_mpjpe_mm"):
        assert found.summary[key] == pytest.approx(SHIFT_MM, abs=0.1)
    for key in ("rr_mpjpe_mm", "pa_mpjpe_mm", "smpl_rr_mpjpe_mm"):
        assert found.summary[key] == pytest.approx(0, abs=0.1)
    assert [(row["frame"], row["person"]) for row in found.poses] == [
        (frame, person) for frame in FRAMES for person in range(2)
    ]


def test_in_true_poses_only_the_people_count(truth):
    """What is wrong with the model's poses changes nothing; all numbers are there twice."""
    moved = evaluate(
        model_in(shifted(truth.own.parameters)), truth, 1.0, in_true_poses=True
    ).summary
    exact = evaluate(model_in(truth.own.parameters), truth, 1.0).summary
    for name in set(IMAGE_NUMBERS) - {"lpips"}:
        assert moved[f"{name}_true_poses"] == pytest.approx(exact[name], rel=1e-5, abs=1e-7)
    assert moved["mask_iou"] < moved["mask_iou_true_poses"]
    assert moved["psnr"] < moved["psnr_true_poses"]
    assert moved["flip"] > moved["flip_true_poses"]
    assert "psnr_true_poses" not in exact


def test_people_are_measured_one_by_one_and_together(truth):
    """The squared errors of both people, by their pixels, make the foreground's."""
    found = evaluate(model_in(truth.own.parameters), truth, 1.0, in_true_poses=True)
    first = [row for row in found.people if (row["camera"], row["frame"]) == (16, 1)]
    whole = next(row for row in found.images if (row["camera"], row["frame"]) == (16, 1))
    pixels = [row["pixels"] for row in first]
    errors = [10 ** (-row["psnr"] / 10) for row in first]
    together = sum(map(mul, pixels, errors)) / sum(pixels)
    assert 10 ** (-whole["psnr_foreground"] / 10) == pytest.approx(together, rel=1e-3)
    assert whole["mask_iou"] == pytest.approx(fmean(row["mask_iou"] for row in first))
    assert [row["person"] for row in found.by_person] == [0, 1]
    for row in found.by_person:
        own = [each["ssim"] for each in found.people if each["person"] == row["person"]]
        assert row["ssim"] == pytest.approx(fmean(own))
        assert row["mpjpe_mm"] == pytest.approx(0, abs=0.1)
        assert row["psnr_true_poses"] == pytest.approx(row["psnr"], rel=1e-4)


def test_a_person_who_is_not_visible_has_no_row(truth):
    """Nothing is compared where the true mask is empty, and the other one is measured."""

    class OneHidden:
        frames, people = truth.reader.frames, 2

        def views(self, keys):
            for view in truth.reader.views(keys):
                masks = view.masks.clone()
                masks[..., 1] = 0
                yield replace(view, masks=masks)

    found = evaluate(model_in(truth.own.parameters), replace(truth, reader=OneHidden()), 1.0)
    assert {row["person"] for row in found.people} == {0}
    assert [row["person"] for row in found.by_person] == [0, 1]  # who has poses all the same
    assert found.by_person[1]["psnr"] is None


def test_without_true_poses_only_images_are_compared(truth):
    """All pose errors are named, without a number; there is no second rendering."""
    unknown = replace(truth, bodies={"smplx": None})
    found = evaluate(model_in(truth.own.parameters), unknown, 1.0, in_true_poses=True)
    assert found.summary["psnr"] > 0
    errors = {key: value for key, value in found.summary.items() if key.endswith("_mm")}
    assert errors == dict.fromkeys(("mpjpe_mm", "rr_mpjpe_mm", "pa_mpjpe_mm", "mve_mm"))
    assert not [key for key in found.summary if "true_poses" in key]
    assert found.poses == []


def test_views_can_be_compared_at_half_their_size(tiny_scene):
    """Errors that alternate from pixel to pixel are gone there, and people's pixels stay theirs."""
    config = load_config(tiny_scene.arguments("train.evaluation.nvs_eval.downscale_factor=2"))
    inputs = check_inputs(config)
    _, reader = open_readers(config, inputs, 2, torch.device("cpu"))
    assert read_ground_truth(config, inputs, reader).downscale_factor == 2
    view = reader.view(16, 0)
    signs = torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(32, 32)[..., None]
    grey = replace(view, image=torch.full_like(view.image, 0.5))
    alpha = view.masks.sum(-1)
    drawn = Rendered(grey.image + signs, view.masks, alpha, alpha, alpha)
    whole, _ = compare_view(drawn, grey, None)
    half, people = compare_view(drawn, grey, None, 2)
    assert whole["psnr"] == pytest.approx(20, abs=1e-3)
    assert half["psnr"] > 100
    assert [person["mask_iou"] for person in people] == pytest.approx([1, 1])
