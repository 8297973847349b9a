"""A refined image's outlines are trained on, each person's apart."""

from __future__ import annotations

import torch

from training.trainer.refiner.silhouettes import person_masks

SIDE, REACH = 48, 2


def scene():
    """Two people side by side on white, each 10 pixels wide; image and alpha."""
    alpha = torch.zeros(SIDE, SIDE, 2)
    alpha[8:40, 10:20, 0] = alpha[8:40, 20:30, 1] = 1
    image = torch.ones(SIDE, SIDE, 3)
    image[8:40, 10:20], image[8:40, 20:30] = 0.2, 0.6
    return image, alpha


def test_an_image_that_agrees_with_the_render_has_its_masks():
    image, alpha = scene()
    torch.testing.assert_close(person_masks(image, alpha, 1.0), alpha)


def test_outlines_follow_the_image_and_belong_to_the_nearest_person():
    """One pixel wider at the left, one narrower at the right; far away nothing is a person."""
    image, alpha = scene()
    image[8:40, 9], image[8:40, 29], image[2, 40] = 0.2, 1.0, 0.0
    expected = alpha.clone()
    expected[8:40, 9, 0], expected[8:40, 29, 1] = 1, 0
    torch.testing.assert_close(person_masks(image, alpha, 1.0), expected)


def test_clothes_of_the_background_s_colour_make_no_hole():
    image, alpha = scene()
    image[20:24, 14:17] = 1.0
    torch.testing.assert_close(person_masks(image, alpha, 1.0), alpha)


def test_a_blurred_outline_makes_nobody_thicker():
    """It lies where the image is halfway to the background."""
    image, alpha = scene()
    image[8:40, 9], image[8:40, 30] = 0.75, 0.9
    torch.testing.assert_close(person_masks(image, alpha, 1.0), alpha)
