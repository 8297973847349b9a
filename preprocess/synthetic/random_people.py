"""People that nobody has named: bodies and outfits drawn at random, the same for the same seed.

For data sets that need many identities, such as the training set of an image refiner.
"""

from __future__ import annotations

import colorsys
from typing import get_args

import numpy as np

from preprocess.synthetic.wardrobe import Cloth, Color, Pattern, Person

BETAS = (1.6, 0.8, 0.8, 0.8, 0.8, 0.8)
"""The largest of each shape coefficient, in either direction; the first is mostly height."""
LIGHT_SKIN, DARK_SKIN = (244, 204, 178), (90, 56, 40)
HAIRS: tuple[Color, ...] = ((24, 20, 20), (122, 62, 28), (214, 170, 84), (150, 150, 156))


def random_people(seed: int, count: int) -> tuple[Person, ...]:
    """Return `count` people; another seed gives others."""
    rng = np.random.default_rng(seed)
    return tuple(_person(rng) for _ in range(count))


def _person(rng: np.random.Generator) -> Person:
    return Person(
        betas=tuple(float(rng.uniform(-most, most)) for most in BETAS),
        skin=_between(LIGHT_SKIN, DARK_SKIN, float(rng.uniform())),
        hair=HAIRS[int(rng.integers(len(HAIRS)))],
        hair_length=float(rng.uniform(0.18, 0.45)),
        top=_cloth(rng),
        sleeve=float(rng.uniform(0.4, 1.95)),
        bottom=_cloth(rng),
        leg=float(rng.uniform(0.9, 1.95)),
        shoes=_color(rng),
    )


def _cloth(rng: np.random.Generator) -> Cloth:
    patterns = get_args(Pattern)
    pattern = patterns[int(rng.integers(len(patterns)))]
    return Cloth(_color(rng), _color(rng), pattern, float(rng.uniform(0.12, 0.3)))


def _color(rng: np.random.Generator) -> Color:
    """Return a colour of any hue; not so light that it could be taken for the white background."""
    hue, saturation, value = rng.uniform((0.0, 0.1, 0.15), (1.0, 0.9, 0.9))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _between(first: Color, second: Color, share: float) -> Color:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue
