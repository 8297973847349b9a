"""Draw what a scene's data says: body, joints and masks over an image, and the cameras from above.

For people to look at: what no rule finds is often seen at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from preprocess.body.joints import BODY_JOINTS, PARENTS
from preprocess.scene_data import CameraData
from preprocess.synthetic.mesh_renderer import project, rasterize

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw as Pen

Array = NDArray[Any]
Point = tuple[float, float]

SIDE = 640
"""Height of the picture, and width of the part that shows the cameras, pixels."""
WIDEST = 1000
MARGIN = 60
TEXT_HEIGHT = 46
TINT = 0.5
PEOPLE = ((230, 85, 50), (40, 110, 220), (40, 160, 80), (170, 70, 190), (220, 160, 20))
"""Colours of person 0, 1, …, from the beginning again where there are more."""
INK, PALE, SOURCE = (40, 40, 40), (150, 150, 150), (200, 30, 30)
VIEW_LENGTH = 0.35
"""Length of a camera's mark as a share of the ring's radius."""


@dataclass(frozen=True)
class Moment:
    """One frame of the source camera, as its files say.

    `image` (H,W,3) 8-bit, `masks` (P,H,W) booleans; `vertices` (P,V,3) and `joints` (P,J,3) in the
    world, metres, and `faces` (F,3), all empty where the body model is not known.
    """

    frame: int
    camera: CameraData
    image: Array
    masks: Array
    vertices: Array = field(default_factory=lambda: np.empty((0, 0, 3)))
    joints: Array = field(default_factory=lambda: np.empty((0, 0, 3)))
    faces: Array = field(default_factory=lambda: np.empty((0, 3), int))


def draw_scene(
    title: str, source: int, moment: Moment, cameras: Mapping[int, CameraData]
) -> Image.Image:
    """Return the picture of a scene: its source camera's frame, and beside it all cameras by id."""
    left = _overlay(moment)
    picture = Image.new("RGB", (left.width + SIDE, SIDE + TEXT_HEIGHT), "white")
    picture.paste(left, (0, TEXT_HEIGHT))
    ring = {**cameras, source: moment.camera}
    picture.paste(_from_above(source, ring, moment.joints), (left.width, TEXT_HEIGHT))
    pen = ImageDraw.Draw(picture)
    what = "masks (tint), bodies (outline), joints" if len(moment.vertices) else "masks (tint)"
    pen.text((8, 4), f"{title}: camera {source}, frame {moment.frame}", INK, _font(16))
    pen.text((8, 24), what, INK, _font(14))
    pen.text((left.width + 16, 4), "cameras and people from above", INK, _font(16))
    return picture


def _overlay(moment: Moment) -> Image.Image:
    height, width = moment.image.shape[:2]
    scale = min(SIDE / height, WIDEST / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tinted = moment.image.astype(np.float32)
    for person, mask in enumerate(moment.masks):
        tinted[mask] = (1 - TINT) * tinted[mask] + TINT * np.array(_color(person))
    picture = Image.fromarray(tinted.astype(np.uint8)).resize(size)
    scaling = np.diag([size[0] / width, size[1] / height, 1.0])
    camera = CameraData(scaling @ moment.camera.intrinsics, moment.camera.extrinsics)
    if len(moment.vertices):
        picture = _with_outlines(picture, camera, moment)
    pen = ImageDraw.Draw(picture)
    for person, joints in enumerate(moment.joints):
        _draw_joints(pen, camera, joints[: len(BODY_JOINTS)], _color(person))
    return picture


def _with_outlines(picture: Image.Image, camera: CameraData, moment: Moment) -> Image.Image:
    """Draw the edge of what is seen of each body."""
    people, count, _ = moment.vertices.shape
    points = moment.vertices.reshape(-1, 3).astype(np.float64)
    pixels, depth = project(points, camera.intrinsics, camera.extrinsics)
    faces = np.concatenate([moment.faces + person * count for person in range(people)])
    seen = rasterize(pixels, depth, faces, *picture.size)
    seen_at = np.full((picture.height, picture.width), -1)
    seen_at.flat[seen.pixel] = seen.face // len(moment.faces)
    drawn = np.array(picture)
    for person in range(people):
        drawn[_edge(seen_at == person)] = _color(person)
    return Image.fromarray(drawn)


def _edge(mask: Array) -> Array:
    """Return the pixels of a mask (H,W) with a neighbour outside, two pixels wide."""
    padded = np.pad(mask, 2)
    shifted = [np.roll(padded, by, axis)[2:-2, 2:-2] for axis in (0, 1) for by in (-2, 2)]
    return np.asarray(mask & ~np.logical_and.reduce(shifted))


def _draw_joints(pen: Pen, camera: CameraData, joints: Array, color: tuple[int, int, int]) -> None:
    pixels, depth = project(joints.astype(np.float64), camera.intrinsics, camera.extrinsics)
    places: list[Point] = [(float(x), float(y)) for x, y in pixels]
    for joint, parent in enumerate(PARENTS[: len(joints)]):
        if parent >= 0 and depth[joint] > 0 and depth[parent] > 0:
            pen.line((places[parent], places[joint]), "white", 2)
    for place, distance in zip(places, depth, strict=True):
        if distance > 0:
            _dot(pen, place, 4, color)


def _from_above(source: int, cameras: Mapping[int, CameraData], joints: Array) -> Image.Image:
    """Draw the cameras' places and directions, the source camera below, and the people."""
    axes = _ground_axes(source, cameras)
    places = {number: axes @ camera.center for number, camera in cameras.items()}
    people = [axes @ each[0] for each in joints]
    points = np.array([*places.values(), *people])
    middle = (points.min(0) + points.max(0)) / 2
    extent = max(float(np.ptp(points, axis=0).max()), 1.0)
    scale = (SIDE - 2 * MARGIN) / extent

    def at(point: Array) -> Point:
        x, y = (point - middle) * scale
        return SIDE / 2 + float(x), SIDE / 2 - float(y)

    picture = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(picture)
    for number, camera in cameras.items():
        color = SOURCE if number == source else INK
        tip = places[number] + VIEW_LENGTH * extent / 2 * _unit(axes @ camera.extrinsics[2, :3])
        pen.line((at(places[number]), at(tip)), color if number == source else PALE, 2)
        _dot(pen, at(places[number]), 7, color)
        x, y = at(places[number])
        pen.text((x + 10, y - 8), f"{number}", color, _font(16))
    for person, place in enumerate(people):
        _dot(pen, at(place), 11, _color(person))
        pen.text(at(place), str(person), "white", _font(14), anchor="mm")
    _scale_bar(pen, scale)
    return picture


def _ground_axes(source: int, cameras: Mapping[int, CameraData]) -> Array:
    """Return two unit axes (2,3) of the ground: the source camera's right, and its view.

    Up is the mean of the cameras' own.
    """
    up = _unit(-np.mean([camera.extrinsics[1, :3] for camera in cameras.values()], axis=0))
    right = cameras[source].extrinsics[0, :3]
    right = _unit(right - up * (right @ up))
    return np.stack([right, np.cross(up, right)])


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _scale_bar(pen: Pen, scale: float) -> None:
    length = 10.0 ** np.floor(np.log10((SIDE / 4) / scale))
    pen.line(((16, SIDE - 16), (16 + length * scale, SIDE - 16)), INK, 3)
    pen.text((16, SIDE - 38), f"{length:g} m", INK, _font(14))


def _dot(pen: Pen, place: Point, radius: float, color: tuple[int, int, int]) -> None:
    x, y = place
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), color, "white")


def _color(person: int) -> tuple[int, int, int]:
    return PEOPLE[person % len(PEOPLE)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
