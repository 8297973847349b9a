"""The people of the synthetic scenes: body shape, colours and garments, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Color = tuple[int, int, int]
Pattern = Literal["plain", "stripes", "checks", "dots", "bands"]


@dataclass(frozen=True)
class Cloth:
    """A garment: two colours (8-bit sRGB) in a pattern that repeats every `period` metres."""

    first: Color
    second: Color
    pattern: Pattern = "plain"
    period: float = 0.12


@dataclass(frozen=True)
class Person:
    """A body shape and an outfit.

    `sleeve` and `leg` say how far the garment reaches: 0 shoulder (hip), 1 elbow (knee), 2 wrist
    (ankle). `hair_length` in metres below the crown, at the back of the head.
    """

    betas: tuple[float, ...]
    skin: Color
    hair: Color
    hair_length: float
    top: Cloth
    sleeve: float
    bottom: Cloth
    leg: float
    shoes: Color


PEOPLE = {
    "ada": Person(
        betas=(1.6, -0.4, -0.3, 0.0, 0.4, 0.0),
        skin=(236, 188, 160),
        hair=(122, 62, 28),
        hair_length=0.42,
        top=Cloth((214, 40, 52), (250, 236, 220), "stripes", 0.13),
        sleeve=1.9,
        bottom=Cloth((40, 62, 120), (30, 46, 92), "bands", 0.3),
        leg=1.95,
        shoes=(245, 245, 240),
    ),
    "ben": Person(
        betas=(-1.6, 0.6, 0.5, 0.8, 0.0, 0.0),
        skin=(150, 100, 70),
        hair=(28, 22, 20),
        hair_length=0.2,
        top=Cloth((34, 128, 84), (240, 214, 70), "dots", 0.16),
        sleeve=0.75,
        bottom=Cloth((196, 172, 128), (176, 150, 106), "checks", 0.16),
        leg=1.15,
        shoes=(60, 40, 36),
    ),
    "cleo": Person(
        betas=(1.4, 0.5, 0.2, 0.0, 0.8, 0.0),
        skin=(104, 66, 46),
        hair=(20, 16, 24),
        hair_length=0.3,
        top=Cloth((244, 176, 32), (206, 84, 28), "bands", 0.2),
        sleeve=0.45,
        bottom=Cloth((110, 44, 120), (150, 84, 160), "stripes", 0.18),
        leg=1.6,
        shoes=(210, 60, 120),
    ),
    "dan": Person(
        betas=(-1.4, -0.8, 0.2, 0.2, 0.2, 0.0),
        skin=(244, 204, 178),
        hair=(214, 170, 84),
        hair_length=0.22,
        top=Cloth((48, 120, 200), (228, 238, 248), "checks", 0.17),
        sleeve=1.9,
        bottom=Cloth((52, 54, 60), (40, 42, 46), "plain"),
        leg=1.95,
        shoes=(190, 50, 40),
    ),
    "eve": Person(
        betas=(1.2, 0.2, -0.9, 0.0, 0.0, 0.8),
        skin=(226, 174, 140),
        hair=(150, 150, 156),
        hair_length=0.26,
        top=Cloth((120, 190, 190), (20, 110, 120), "dots", 0.14),
        sleeve=1.4,
        bottom=Cloth((230, 226, 214), (206, 200, 184), "bands", 0.3),
        leg=1.95,
        shoes=(40, 40, 80),
    ),
}
